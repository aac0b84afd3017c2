"""Shard sets: what is written is what is read, and damage never passes in silence."""

import io
import pickle
import random
import tarfile

import pytest
import webdataset
from PIL import Image

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import ShardSetWriter, write_shard_set
from lit_mmembed.data.verify import verify
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample


def picture(colour=(10, 20, 30), size=(8, 6), kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


SAMPLES = [
    Sample("20:1", "a question", None, Modality.TEXT, "emoji_task0", ("20:7", "20:9"), ("20:8",), '{"from": "x"}'),
    Sample("20:2", None, picture(), Modality.IMAGE, "emoji_task4", ("20:7",)),
    Sample("20:3", "ünïcode / text", picture((1, 2, 3), kind="WEBP"), Modality.IMAGE_TEXT),
    Sample("odd@id/with:everything%", "x", None, Modality.TEXT),
    Sample("long" * 60, "y", picture(kind="JPEG"), Modality.IMAGE_TEXT),
]
TASKS = ["emoji_task0", "emoji_task4"]


@pytest.fixture
def folder(tmp_path):
    write_shard_set(tmp_path / "set", SAMPLES, tasks=TASKS)
    return tmp_path / "set"


def test_what_is_written_is_what_is_read(folder):
    reader = ShardReader(folder)
    assert list(reader) == SAMPLES
    assert list(reader.ids) == [sample.id for sample in SAMPLES]
    assert list(reader.task) == [0, 1, -1, -1, -1]
    assert [reader.by_id(sample.id) for sample in reversed(SAMPLES)] == SAMPLES[::-1]
    assert reader.find("20:99") is None
    assert list(reader.rows_of(["20:3", "absent", "20:1"])) == [2, 0]


def test_a_reader_goes_into_a_worker_and_reads_the_same(folder):
    reader = ShardReader(folder)
    assert reader[0] == SAMPLES[0]
    assert list(pickle.loads(pickle.dumps(reader))) == SAMPLES


def test_the_same_samples_give_the_same_bytes(tmp_path):
    hashes = [write_shard_set(tmp_path / name, SAMPLES, tasks=TASKS) for name in "ab"]
    assert hashes[0] == hashes[1]
    assert (tmp_path / "a/000000.tar").read_bytes() == (tmp_path / "b/000000.tar").read_bytes()


def test_a_small_shard_size_makes_many_shards(tmp_path):
    writer = ShardSetWriter(tmp_path / "set", tasks=TASKS, shard_bytes=3000)
    for sample in SAMPLES:
        writer.add(sample)
    writer.finish()
    assert len(list((tmp_path / "set").glob("*.tar"))) > 2
    assert list(ShardReader(tmp_path / "set")) == SAMPLES
    assert verify(tmp_path / "set") == []


def test_plain_webdataset_and_tar_read_our_shards(folder):
    records = list(webdataset.WebDataset(str(folder / "000000.tar"), shardshuffle=False).decode())
    assert [record["json"]["id"] for record in records] == [sample.id for sample in SAMPLES]
    assert [record.get("png") for record in records][1] == SAMPLES[1].image
    with tarfile.open(folder / "000000.tar") as archive:
        assert len(archive.getmembers()) == 8


def test_streaming_a_shard_gives_the_same_samples(folder):
    from lit_mmembed.data.remote import stream

    assert list(stream([f"file:{folder / '000000.tar'}"])) == SAMPLES
    with pytest.raises(InputError, match="pipe:rm"):
        list(stream(["pipe:rm -rf x"]))


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        (Sample("1", "again"), "duplicate id"),
        (Sample("2", None), "neither text nor image"),
        (Sample("2", "", modality=Modality.TEXT), "neither text nor image"),
        (Sample("2", "t", modality=Modality.IMAGE), 'says modality "image"'),
        (Sample("2", "t", task="nosuch_task1"), "is unknown"),
        (Sample("2", None, b"no image", Modality.IMAGE), "cannot be read"),
        (Sample("2", None, picture()[:-20], Modality.IMAGE), "cut short"),
        (Sample("2", None, picture(kind="JPEG")[:-1], Modality.IMAGE), "cut short"),
        (Sample("2", None, picture(kind="WEBP")[:-3], Modality.IMAGE), "cannot be read|cut short"),
        (Sample("", "t"), "empty id"),
        (Sample("a b", "t"), "id 'a b' is empty or has white space in it"),
        (Sample("\ud83d", "t"), "id has half a character"),
        (Sample("2", "t\ud83d"), "has half a character"),
        (Sample("2", "t", source="\ud83d"), "has half a character"),
    ],
)
def test_a_bad_sample_is_refused_by_name(tmp_path, sample, problem):
    writer = ShardSetWriter(tmp_path, tasks=TASKS)
    writer.add(Sample("1", "first"))
    with pytest.raises(InputError, match=problem):
        writer.add(sample)
    writer.finish()
    assert len(ShardReader(tmp_path)) == 1


def test_a_huge_image_is_refused_from_its_header(tmp_path):
    header = bytearray(picture())
    header[16:24] = (60_000).to_bytes(4, "big") * 2  # PNG's IHDR: width, height
    with pytest.raises(InputError, match=r"too large|pixels|cannot be read"):
        ShardSetWriter(tmp_path).add(Sample("1", None, bytes(header), Modality.IMAGE))


def test_a_missing_or_truncated_shard_is_an_error_on_opening(folder):
    shard = folder / "000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"000000.tar.*bytes instead of"):
        ShardReader(folder)
    shard.unlink()
    with pytest.raises(InputError, match="missing"):
        ShardReader(folder)


def test_500_truncations_lose_nothing_in_silence(folder):
    shard = folder / "000000.tar"
    whole = shard.read_bytes()
    generator = random.Random(0)
    for size in [0, 1, len(whole) - 1, *(generator.randrange(len(whole)) for _ in range(497))]:
        shard.write_bytes(whole[:size])
        _assert_that_damage_is_named(folder, lost_from=size)


def test_500_flipped_bits_never_give_a_wrong_payload(folder):
    shard = folder / "000000.tar"
    whole = shard.read_bytes()
    generator = random.Random(1)
    for _ in range(500):
        place = generator.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.randrange(8)
        shard.write_bytes(damaged)
        _assert_that_damage_is_named(folder, flipped=place)


def _assert_that_damage_is_named(folder, *, lost_from=None, flipped=None):
    reader = ShardReader(folder, on_bad_sample="skip")
    columns = reader._columns
    report = verify(folder)
    assert report
    assert all("000000.tar" in line for line in report)
    for row, sample in enumerate(SAMPLES):
        start, end = columns["offset"][row], columns["offset"][row] + columns["size"][row]
        hit = end > lost_from if flipped is None else start <= flipped < end
        if not hit:
            assert reader[row] == sample
            continue
        with pytest.raises(InputError) as raised:
            reader[row]
        message = str(raised.value)
        assert "000000.tar" in message
        assert f"key {sample.id} at offset {start}" in message
        assert message in report


def test_a_damaged_index_is_an_error(folder):
    index = folder / "index.arrow"
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    with pytest.raises(InputError, match="index"):
        ShardReader(folder)
    assert verify(folder)


def test_a_folder_without_manifest_is_no_shard_set(tmp_path):
    with pytest.raises(InputError, match=r"manifest.json is missing.*mmembed shard"):
        ShardReader(tmp_path)
