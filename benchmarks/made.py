"""Texts and images that the benchmarks make for themselves: of the size and the structure of real ones."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

WORDS = 5_000


def texts(count, generator, *, shortest=6, longest=40):
    """Sentences of made words, 6 to 40 each: captions and short passages."""
    letters = np.array(list("abcdefghijklmnoprstuvwyz"))
    words = ["".join(generator.choice(letters, length)) for length in generator.integers(2, 11, WORDS)]
    lengths = generator.integers(shortest, longest + 1, count)
    return [" ".join(words[word] for word in generator.integers(0, WORDS, length)) for length in lengths]


def jpeg(size, generator, quality=90):
    """A JPEG of smooth ground, edges and some grain: about as many bytes a pixel as a photograph, not noise."""
    width, height = size
    ground = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    image = ground.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, right = sorted(generator.integers(0, width, 2).tolist())
        top, bottom = sorted(generator.integers(0, height, 2).tolist())
        colour = tuple(generator.integers(0, 256, 3).tolist())
        (draw.ellipse if generator.random() < 0.5 else draw.rectangle)((left, top, right, bottom), outline=colour)
    grain = generator.normal(0, 6, (height, width, 1))
    pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
