"""Reading shards in a true global shuffle beside webdataset's shuffle buffer (the peer) and bare slices (the limit).

Ours is one epoch of `BatchOrder`: a permutation of all samples, each read at random, its checksum verified, parsed into
a `Sample`. The peer reads the same tars in order through a buffer of 1,000 and parses the JSON; it verifies nothing and
is given its fastest set-up (`json.loads` in a `map`, no `.decode()`). One process with one thread, files
in the page cache; CPU seconds are compared.

On images the limit is the same transform on bytes that are in memory already.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
import webdataset

from benchmarks.made import jpeg, texts
from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.data.order import BatchOrder, EpochSampler
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.encoders.images import ImageTransform
from lit_mmembed.types import Modality, Sample

TEXTS, IMAGES, SIDE, BUFFER = 50_000, 2_000, 256, 1_000
FASTER, SHARE = 5, 0.95


def rows(count):
    """The rows of an epoch, as training asks for them."""
    sampler = EpochSampler(BatchOrder(np.zeros(count), batch_size=100, seed=0))
    return (row for batch in sampler for _, _, row in batch)


def read(reader, use=None):
    """Every sample of an epoch, and what `use` makes of its image."""
    for row in rows(len(reader)):
        sample = reader[row]
        if use:
            use(sample.image)


def stream(folder, use=None):
    """The same through webdataset."""
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    pipeline = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).shuffle(BUFFER)
    for sample in pipeline.map(lambda record: (json.loads(record["json"]), record.get("jpg"))):
        if use:
            use(sample[1])


def slices(folder):
    """The bytes of an epoch in the same order, checksum included, and nothing else."""
    reader = ShardReader(folder)
    columns = [reader._columns[name].tolist() for name in ("offset", "size", "checksum")]
    spans = list(zip(*columns, strict=True))
    mapped = reader._map(0)
    assert len(reader.manifest["shards"]) == 1

    def run():
        for row in rows(len(spans)):
            offset, size, checksum = spans[row]
            assert crc32(mapped[offset : offset + size]) == checksum

    return run


def text_figure(folder, generator):
    samples = [Sample(f"9:{n}", text, positives=(f"9:{n}",)) for n, text in enumerate(texts(TEXTS, generator))]
    write_shard_set(folder, samples)
    reader = ShardReader(folder)
    seconds = interleaved(
        {"ours": lambda: read(reader), "webdataset": lambda: stream(folder), "slices": slices(folder)},
        rounds=5,
        clock=time.process_time,
    )
    faster = ratio(seconds, "webdataset", "ours")
    return {
        "samples": "text", "count": TEXTS,
        "times_faster_than_webdataset": round(faster, 2), "target_at_least": FASTER, "reached": faster >= FASTER,
        "times_bare_slices_with_checksum": round(ratio(seconds, "ours", "slices"), 2),
    }  # fmt: skip


def image_figure(folder, generator, mode):
    if not folder.exists():
        images = [jpeg((SIDE, SIDE), generator) for _ in range(IMAGES)]
        pairs = enumerate(zip(images, texts(IMAGES, generator), strict=True))
        write_shard_set(folder, [Sample(f"9:{n}", text, image, Modality.IMAGE_TEXT) for n, (image, text) in pairs])
    reader = ShardReader(folder)
    transform = ImageTransform(mode=mode)
    in_memory = [reader[row].image for row in rows(len(reader))]
    seconds = interleaved(
        {
            "ours": lambda: read(reader, transform),
            "transform": lambda: [None for encoded in in_memory if transform(encoded) is None],
            "webdataset": lambda: stream(folder, transform),
            "slices": slices(folder),
        },
        rounds=5,
        clock=time.process_time,
    )
    share = ratio(seconds, "transform", "ours")
    return {
        "samples": f"image and text, {mode} transform", "count": IMAGES,
        "share_of_the_speed_of_the_transform_alone": round(share, 3), "target_at_least": SHARE,
        "reached": share >= SHARE,
        "webdataset_share": round(ratio(seconds, "transform", "webdataset"), 3),
        "slices_with_checksum_share_of_time": round(ratio(seconds, "slices", "ours"), 4),
    }  # fmt: skip


def main():
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        figures = [text_figure(Path(folder) / "text", generator)]
        figures += [image_figure(Path(folder) / "image", generator, mode) for mode in ("exact", "fast")]
    save("reader", figures)


if __name__ == "__main__":
    main()
