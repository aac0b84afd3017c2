"""The image archive: streamed once, from parts, and damage names the part."""

import os
import random
from pathlib import Path

import pytest

from lit_mmembed.data.sources.mbeir_images import image_archive, stream_images
from lit_mmembed.errors import InputError
from lit_mmembed.types import stable_id
from tests.data.sources.mbeir_folder import build, pack, picture

NUMBERS = (1, 2, 3, 4, 21, 22, 23, 30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build(tmp_path / "mbeir")


def wanted() -> dict[int, bytes]:
    return {stable_id(f"mbeir_images/a/{number}.jpg"): picture(number) for number in NUMBERS}


def test_every_wanted_image_comes_once_in_the_archives_order(root: Path) -> None:
    parts = pack(root, parts=4)
    assert image_archive(root) == parts
    streamed = list(stream_images(parts, wanted()))
    assert dict(streamed) == wanted()
    assert len(streamed) == len(NUMBERS)
    chosen = list(wanted())[2]
    assert list(stream_images(parts, [chosen])) == [(chosen, picture(NUMBERS[2]))]


def test_a_cut_last_part_is_named(root: Path) -> None:
    parts = pack(root)
    os.truncate(parts[-1], parts[-1].stat().st_size // 2)
    with pytest.raises(InputError, match=r"part-02: the archive breaks off or is damaged"):
        list(stream_images(image_archive(root), wanted()))


def test_a_cut_part_in_the_middle_is_named_before_anything_is_read(root: Path) -> None:
    parts = pack(root)
    os.truncate(parts[1], parts[1].stat().st_size - 7)
    with pytest.raises(InputError, match=r"part-01: is cut short"):
        image_archive(root)


def test_a_missing_part_is_named(root: Path) -> None:
    pack(root)[1].unlink()
    with pytest.raises(InputError, match=r"part-01: is missing"):
        image_archive(root)


def test_no_cut_and_no_flipped_bit_goes_unnoticed(root: Path) -> None:
    [part] = pack(root, parts=1)
    whole, expected, chance = part.read_bytes(), wanted(), random.Random(7)
    for trial in range(120):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: chance.randrange(len(whole))]
        else:
            damaged[chance.randrange(10, len(whole))] ^= 1 << chance.randrange(8)
        part.write_bytes(damaged)
        streamed: dict[int, bytes] = {}
        try:
            for name, content in stream_images([part], expected):
                streamed[name] = content
        except InputError:
            continue
        assert streamed == expected
