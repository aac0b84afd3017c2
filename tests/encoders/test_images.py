from __future__ import annotations

import io

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from transformers import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from lit_mmembed.encoders.images import CLIP_MEAN, CLIP_STD, ImageTransform, normalised
from lit_mmembed.errors import InputError
from tests.encoders.small import jpeg


def decode(encoded):
    from PIL import Image

    return Image.open(io.BytesIO(encoded))


def apart(encoded, processor):
    """Differences to a processor's pixels, in steps of 1/255."""
    pixels = ImageTransform()(encoded).unsqueeze(0)
    own = normalised(pixels, torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD))[0]
    theirs = processor(decode(encoded), return_tensors="pt")["pixel_values"][0]
    return (own - theirs).abs() * torch.tensor(CLIP_STD).view(3, 1, 1) * 255


SIDES = st.integers(20, 700)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.sampled_from(["JPEG", "PNG"]))
def test_exact_pixels_are_those_of_the_pillow_processor(width, height, kind):
    assert apart(jpeg(width, (width, height), kind), CLIPImageProcessorPil()).max() < 1e-3


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, st.sampled_from(["JPEG", "PNG"]))
def test_the_torchvision_processor_differs_by_a_step_and_rarely_by_two(width, height, kind):
    # It rounds bicubic otherwise than Pillow does: a bound on theirs, not a freedom of ours (the test above has none).
    difference = apart(jpeg(width, (width, height), kind), CLIPImageProcessor())
    assert difference.max() <= 2.001 and (difference > 1.001).float().mean() < 1e-3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_grey_and_transparent_images_are_made_rgb(mode):
    from PIL import Image

    stream = io.BytesIO()
    Image.open(io.BytesIO(jpeg(4, (300, 260)))).convert(mode).save(stream, "TIFF" if mode == "CMYK" else "PNG")
    assert apart(stream.getvalue(), CLIPImageProcessorPil()).max() < 1e-3


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (64, 64), (1000, 225), (30, 400)])
def test_fast_pixels_look_like_the_exact_ones(size):
    encoded = jpeg(7, size)
    exact, fast = (ImageTransform(mode=mode)(encoded).float() for mode in ("exact", "fast"))
    assert fast.shape == exact.shape == (3, 224, 224)
    assert (exact - fast).abs().mean() < 2.5


def test_squashed_images_keep_everything():
    from PIL import Image

    wide = np.zeros((20, 80, 3), dtype=np.uint8)
    wide[:, 60:] = 255
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    squashed = ImageTransform(size=20, resize="squash")(stream.getvalue())
    cropped = ImageTransform(size=20)(stream.getvalue())
    assert squashed[:, :, -3:].min() > 200 and cropped.max() < 50


@pytest.mark.parametrize("encoded", [b"", b"no image", jpeg()[: len(jpeg()) // 2], jpeg(kind="PNG")[:-30]])
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_an_unreadable_image_is_an_error_with_its_record(encoded, mode):
    with pytest.raises(InputError, match=r"9:17.*can't be read"):
        ImageTransform(mode=mode)(encoded, record="9:17")


def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch):
    from PIL import Image

    encoded = jpeg(size=(300, 200))

    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "convert", refuse)
    with pytest.raises(InputError, match=r"9:17.*300 x 200 pixels, more than 59,999"):
        ImageTransform(max_pixels=59_999)(encoded, record="9:17")


def test_normalising_is_what_the_formula_says():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    expected = (pixels.double() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    torch.testing.assert_close(normalised(pixels, mean, std).double(), expected, atol=1e-6, rtol=1e-5)
