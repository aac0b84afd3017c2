"""CIRCO, CIRR and FashionIQ with sixty pictures, laid out as their authors publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.data.sources.mbeir_folder import picture

PICTURES = 60
ASPECTS = ("addition", "negation")


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def circo_entries(split: str, queries: int = 4) -> list[dict]:
    """Query n shows picture 100 + n and is answered by 110 + n (the target), 120 + n, ..., n + 1 of them."""
    entries = []
    for n in range(queries):
        entry: dict[str, Any] = {"reference_img_id": 100 + n, "relative_caption": f"is held by {n} girls", "id": n}
        entry["shared_concept"] = "a teddy bear"
        if split == "val":
            answers = [110 + n + 10 * place for place in range(n + 1)]
            aspects = ASPECTS[: n % 3]
            entry |= {"target_img_id": answers[0], "gt_img_ids": answers, "semantic_aspects": list(aspects)}
        entries.append(entry)
    return entries


def build_circo(root: Path) -> Path:
    """Pictures 100 to 159; a 61st is there that the list does not have."""
    for split in ("val", "test"):
        write(root / f"annotations/{split}.json", circo_entries(split))
    images = [{"id": 100 + n, "file_name": f"{100 + n:012d}.jpg"} for n in reversed(range(PICTURES))]
    write(root / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", {"images": images})
    folder = root / "COCO2017_unlabeled/unlabeled2017"
    folder.mkdir(parents=True)
    for n in range(PICTURES + 1):
        (folder / f"{100 + n:012d}.jpg").write_bytes(picture(n))
    return root


def cirr_entries(split: str) -> list[dict]:
    """Query n shows picture 6n and is answered by 6n + 1; its subset are the pictures 6n to 6n + 5."""
    entries = []
    for n in range(3):
        members = [cirr_name(split, 6 * n + place) for place in range(6)]
        entry: dict[str, Any] = {"pairid": 70 + n, "reference": members[0], "caption": f"show {n} dogs"}
        entry["img_set"] = {"id": n, "members": members, "reference_rank": 0}
        if split != "test1":
            entry |= {"target_hard": members[1], "target_soft": {members[1]: 1.0, members[2]: 0.5}}
        entries.append(entry)
    return entries


def cirr_name(split: str, n: int) -> str:
    return f"{'dev' if split == 'val' else split}-{n}-0-img0"


def build_cirr(root: Path) -> Path:
    """Validation and test, sixty pictures each, in the folders of NLVR2."""
    for split, below in (("val", "dev"), ("test1", "test1")):
        write(root / f"captions/cap.rc2.{split}.json", cirr_entries(split))
        names = [cirr_name(split, n) for n in range(PICTURES)]
        write(root / f"image_splits/split.rc2.{split}.json", {name: f"./{below}/{name}.png" for name in names})
        (root / "img_raw" / below).mkdir(parents=True)
        for n, name in enumerate(names):
            (root / "img_raw" / below / f"{name}.png").write_bytes(picture(n))
    return root


def build_fashioniq(root: Path) -> Path:
    """Three categories of 55 pictures; each shares five with the next. Query n: picture n, answered by n + 1."""
    (root / "images").mkdir(parents=True)
    for n in range(170):
        (root / f"images/B{n:03d}.jpg").write_bytes(picture(n))
    for place, category in enumerate(("dress", "shirt", "toptee")):
        names = [f"B{50 * place + n:03d}" for n in range(55)]
        for split in ("val", "test"):
            write(root / f"image_splits/split.{category}.{split}.json", names)
            captions = ["Is shorter.", f"has {place} sleeves"]
            entries = [{"candidate": names[n], "target": names[n + 1], "captions": captions} for n in range(2)]
            if split == "test":
                entries = [{name: entry[name] for name in ("candidate", "captions")} for entry in entries]
            write(root / f"captions/cap.{category}.{split}.json", entries)
    return root
