"""From an encoded JPEG of 640 x 480 to normalised pixels of 224 x 224, beside transformers' CLIP processors.

transformers has two: `CLIPImageProcessor` (torchvision) and `CLIPImageProcessorPil`; the first is also given pixels
that torchvision.io decoded, the fastest start it can have. All make `pixel_values` of batches of 32 with one thread, as
a worker of a DataLoader does; CPU seconds are compared. Ours is the transform and the normalising, which in training
runs on the model's device (`until_bytes` is without it). The limit is Pillow: decode in full, resize once, no tensor.

Two qualities, since most of the time goes into the entropy decoder, which everyone shares: 75 is Pillow's default, 90
leaves twice the bytes. `exact` equals the Pillow processor, from which the torchvision one differs by itself.
"""

from __future__ import annotations

import io
import time

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_jpeg
from transformers import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.made import jpeg
from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.encoders.images import CLIP_MEAN, CLIP_STD, ImageTransform, normalised

COUNT, BATCH, SIZE, ROUNDS, QUALITIES = 64, 32, (640, 480), 25, (75, 90)
FASTER, STEP = 1.8, 1 / 255
MEAN, STD = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)


def open_image(encoded):
    return Image.open(io.BytesIO(encoded))


def read_bytes(encoded):
    return decode_jpeg(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))


def bare(batch):
    return [open_image(encoded).resize((298, 224), Image.Resampling.BICUBIC) for encoded in batch]


def until_bytes(mode):
    transform = ImageTransform(mode=mode)
    return lambda batch: torch.stack([transform(encoded) for encoded in batch])


def own(mode):
    pixels = until_bytes(mode)
    return lambda batch: normalised(pixels(batch), MEAN, STD)


def processor(theirs, decode):
    return lambda batch: theirs([decode(encoded) for encoded in batch], return_tensors="pt")["pixel_values"]


PEERS = {
    "CLIPImageProcessor": processor(CLIPImageProcessor(), open_image),
    "CLIPImageProcessor, torchvision.io": processor(CLIPImageProcessor(), read_bytes),
    "CLIPImageProcessorPil": processor(CLIPImageProcessorPil(), open_image),
}
OURS = {"fast": own("fast"), "exact": own("exact")}


def speeds(images, quality):
    batches = [images[start : start + BATCH] for start in range(0, COUNT, BATCH)]
    paths = {**OURS, **PEERS, "until bytes": until_bytes("fast"), "bare": bare}
    contenders = {name: lambda path=path: [path(batch) for batch in batches] for name, path in paths.items()}
    seconds = interleaved(contenders, rounds=ROUNDS, clock=time.process_time)
    for mode in OURS:
        faster = {name: round(ratio(seconds, name, mode), 2) for name in PEERS}
        reached = {name: value >= FASTER for name, value in faster.items()}
        target = {"target_at_least": FASTER, "reached": reached} if mode == "fast" else {}
        yield {
            "mode": mode, "quality": quality, "bytes_per_image": sum(map(len, images)) // COUNT,
            "times_faster_than": faster, **target,
            "times_bare_decode_and_resize": round(ratio(seconds, mode, "bare"), 2),
            "share_of_time_until_bytes": round(ratio(seconds, "until bytes", "fast"), 2) if mode == "fast" else None,
        }  # fmt: skip


def differences(images):
    def largest(one, other):
        return round(((one(images) - other(images)).abs() * STD.view(3, 1, 1)).max().item(), 7)

    pillow, torchvision = PEERS["CLIPImageProcessorPil"], PEERS["CLIPImageProcessor"]
    difference = largest(OURS["exact"], pillow)
    return {
        "mode": "exact", "largest_difference_to_CLIPImageProcessorPil": difference,
        "target_at_most": round(STEP, 7), "reached": difference <= STEP,
        "largest_difference_to_CLIPImageProcessor": largest(OURS["exact"], torchvision),
        "largest_difference_of_the_two": largest(pillow, torchvision),
    }  # fmt: skip


def main():
    torch.set_num_threads(1)
    figures = []
    for quality in QUALITIES:
        generator = np.random.default_rng(0)
        images = [jpeg(SIZE, generator, quality) for _ in range(COUNT)]
        figures += speeds(images, quality)
    figures.append(differences(images))
    save("images", figures)


if __name__ == "__main__":
    main()
