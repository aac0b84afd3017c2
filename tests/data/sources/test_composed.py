"""CIRCO, CIRR and FashionIQ as their authors lay them out: texts, galleries, what travels in `source`, broken files."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sources.circo import CircoSource
from lit_mmembed.data.sources.cirr import CirrSource
from lit_mmembed.data.sources.fashioniq import FashionIqSource, joined
from lit_mmembed.errors import InputError
from tests.data.sources.composed_folders import PICTURES, build_circo, build_cirr, build_fashioniq, circo_entries, write
from tests.tiny import done, mmembed

PICTURES_OF_CIRCO = Path("COCO2017_unlabeled/unlabeled2017")


def queries(source) -> dict[str, dict]:
    samples = [item[1] for item in source.items() if not isinstance(item, BadSample) and item[0].startswith("queries")]
    return {sample.id: {"sample": sample, **json.loads(sample.source)} for sample in samples}


def test_a_query_of_circo_carries_its_reference_target_aspects_and_answers(tmp_path):
    found = queries(CircoSource(build_circo(tmp_path)))
    assert found["90:val-2"]["reference"] == "90:102"
    assert found["90:val-2"]["target"] == "90:112"
    assert found["90:val-2"]["aspects"] == ["addition", "negation"]
    assert found["90:val-2"]["sample"].positives == ("90:112", "90:122", "90:132")
    assert found["90:test-2"]["number"] == "2" and "target" not in found["90:test-2"]


def test_the_gallery_of_circo_is_cocos_list_and_not_the_folder(tmp_path):
    source = CircoSource(build_circo(tmp_path))
    dids = [item[1].id for item in source.items() if item[0] == "candidates/val"]
    assert dids == [f"90:{100 + n}" for n in range(PICTURES)]
    (tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    assert len(CircoSource(tmp_path).pools()["val"]["circo_task7"]) == PICTURES + 1


@pytest.mark.parametrize(
    ("form", "text"), [("paper", "Is held by 2 girls."), ("magiclens", "find a teddy bear but is held by 2 girls")]
)
def test_circos_text_is_written_as_asked(tmp_path, form, text):
    found = queries(CircoSource(build_circo(tmp_path), query_text=form))
    assert found["90:val-2"]["sample"].text == text
    assert found["90:val-2"]["query_text"] == form


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_pictures_gives_what_the_folder_gives(tmp_path, kind):
    root = build_circo(tmp_path / "circo")
    items = list(CircoSource(root).items())
    shutil.make_archive(str(root / PICTURES_OF_CIRCO), kind, root / "COCO2017_unlabeled", "unlabeled2017")
    shutil.rmtree(root / PICTURES_OF_CIRCO)
    assert list(CircoSource(root).items()) == items


def test_a_compressed_tar_is_refused_because_nothing_can_be_looked_up_in_it(tmp_path):
    root = build_circo(tmp_path / "circo")
    with tarfile.open(root / "COCO2017_unlabeled/unlabeled2017.tar.gz", "w:gz") as archive:
        archive.add(root / PICTURES_OF_CIRCO, "unlabeled2017")
    shutil.rmtree(root / PICTURES_OF_CIRCO)
    with pytest.raises(InputError, match="is compressed"):
        list(CircoSource(root).items())


def test_a_damaged_archive_is_named(tmp_path):
    root = build_circo(tmp_path / "circo")
    with zipfile.ZipFile(root / "COCO2017_unlabeled/unlabeled2017.zip", "w") as archive:
        for file in sorted((root / PICTURES_OF_CIRCO).iterdir()):
            archive.write(file, f"unlabeled2017/{file.name}")
    path = root / "COCO2017_unlabeled/unlabeled2017.zip"
    path.write_bytes(path.read_bytes()[:-40])
    shutil.rmtree(root / PICTURES_OF_CIRCO)
    with pytest.raises(InputError, match="is not an archive"):
        list(CircoSource(root).items())


BROKEN = {
    "repeats id 1": lambda entries: entries.append(entries[1]),
    "lacks id": lambda entries: entries[1].pop("id"),
    "lacks relative_caption": lambda entries: entries[1].pop("relative_caption"),
    "which is not in the gallery": lambda entries: entries[1]["gt_img_ids"].append(999),
    "target_img_id is not the first": lambda entries: entries[1].update(target_img_id=121),
    "is no number of a picture": lambda entries: entries[1]["gt_img_ids"].append("112"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_annotation_of_circo_is_refused_with_file_and_query(tmp_path, problem):
    entries = circo_entries("val")
    BROKEN[problem](entries)
    write(build_circo(tmp_path / "circo") / "annotations/val.json", entries)
    ran = mmembed("shard", "--source", "circo", "--root", tmp_path / "circo", "--out", tmp_path / "out")
    assert ran.status == 2
    assert problem in ran.err and "annotations/val.json" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"caption": "half \ud83d"}, "91:71: the text has half a character"),
        ({"pairid": "7 1"}, "91:7 1: id '91:7 1' is empty or has white space in it"),
    ],
)
def test_a_query_that_qrels_or_shards_cannot_hold_is_refused_with_its_file_or_skipped(tmp_path, entry, message):
    path = build_cirr(tmp_path / "cirr") / "captions/cap.rc2.val.json"
    write(path, [row | entry if row["pairid"] == 71 else row for row in json.loads(path.read_text())])
    flags = ("shard", "--source", "cirr", "--root", tmp_path / "cirr", "--out", tmp_path / "out", "--splits", "val")
    refused = mmembed(*flags)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert refused.err.startswith(f"mmembed: error: {path}: {message}")
    done(*flags, "--on-bad-sample", "skip")
    assert len(DataDirectory(tmp_path / "out").queries("val")) == 2


def test_a_missing_picture_is_an_error_or_is_skipped(tmp_path):
    root = build_circo(tmp_path / "circo")
    (root / PICTURES_OF_CIRCO / "000000000112.jpg").unlink()
    flags = ("shard", "--source", "circo", "--root", root, "--out", tmp_path / "out", "--splits", "val")
    refused = mmembed(*flags)
    assert refused.status == 2 and "there is no picture 000000000112" in refused.err
    done(*flags, "--on-bad-sample", "skip")
    assert "90:112" not in DataDirectory(tmp_path / "out").qrels_path("val").read_text()


def test_a_query_of_cirr_carries_its_subset_without_the_reference(tmp_path):
    found = queries(CirrSource(build_cirr(tmp_path), splits=["val"]))
    assert found["91:71"]["reference"] == "91:dev-6-0-img0"
    assert found["91:71"]["members"] == [f"91:dev-{n}-0-img0" for n in range(7, 12)]
    assert found["91:71"]["sample"].positives == ("91:dev-7-0-img0",)
    assert set(found) == {"91:70", "91:71", "91:72"}


def test_a_subset_of_cirr_that_leaves_the_gallery_is_refused(tmp_path):
    root = build_cirr(tmp_path)
    path = root / "image_splits/split.rc2.val.json"
    names = json.loads(path.read_text())
    names.pop("dev-11-0-img0")
    write(path, names)
    bad = [item for item in CirrSource(root, splits=["val"]).items() if isinstance(item, BadSample)]
    assert [item.id for item in bad] == ["91:71"]
    assert "its subset names picture dev-11-0-img0" in str(bad[0].error)


def test_each_category_of_fashioniq_is_searched_in_its_own_gallery(tmp_path):
    pools = FashionIqSource(build_fashioniq(tmp_path)).pools()["val"]
    assert list(pools) == ["fashioniq-dress_task7", "fashioniq-shirt_task7", "fashioniq-toptee_task7"]
    assert pools["fashioniq-shirt_task7"] == [f"92:B{n:03d}" for n in range(50, 105)]
    assert len(set(pools["fashioniq-dress_task7"]) & set(pools["fashioniq-shirt_task7"])) == 5


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("paper", "Is shorter and has long sleeves."),
        ("magiclens", "Is shorter. and has long sleeves?"),
        ("e5v", "Is shorter, has long sleeves"),
    ],
)
def test_captions_of_fashioniq_are_joined_as_asked(form, text):
    assert joined(["Is shorter.", "has long sleeves" + "?" * (form != "paper")], form) == text


def test_a_category_without_captions_is_named(tmp_path):
    root = build_fashioniq(tmp_path)
    (root / "captions/cap.shirt.val.json").unlink()
    with pytest.raises(InputError, match="all three categories"):
        FashionIqSource(root)


def test_a_query_text_that_a_source_does_not_have_is_refused(tmp_path):
    with pytest.raises(InputError, match="CIRCO has no query text 'e5v'"):
        CircoSource(build_circo(tmp_path), query_text="e5v")


def test_a_split_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no annotations of split train"):
        CircoSource(build_circo(tmp_path), splits=["train"])
