"""A small M-BEIR in the published layout, with every query kind, a folder of images and an archive in parts."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

from PIL import Image

TASKS = {0: "mscoco_task0", 3: "mscoco_task3", 7: "cirr_task7"}


def picture(number: int) -> bytes:
    """A small image, another one for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (number * 37 % 256, number * 91 % 256, number % 256)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def query(qid: str, task: int, positives: list[str], *, text: str | None = None, image: int | None = None) -> dict:
    modality = ",".join([name for name, part in (("image", image), ("text", text)) if part is not None])
    return {
        "qid": qid,
        "query_txt": text,
        "query_img_path": None if image is None else f"mbeir_images/a/{image}.jpg",
        "query_modality": modality,
        "query_src_content": None,
        "pos_cand_list": positives,
        "neg_cand_list": [],
        "task_id": task,
    }


def candidate(did: str, *, text: str | None = None, image: int | None = None) -> dict:
    modality = ",".join([name for name, part in (("text", text), ("image", image)) if part is not None])
    path = None if image is None else f"mbeir_images/a/{image}.jpg"
    return {"did": did, "txt": text, "img_path": path, "modality": modality, "src_content": None}


def build(root: Path) -> Path:
    """Three rows (MSCOCO both ways, CIRR), splits train and test; CIRR's training query stands three times."""
    images = [candidate(f"9:{n}", image=n) for n in range(1, 5)]
    texts = [candidate(f"9:{n}", text=f"Caption {n}.") for n in range(11, 15)]
    edits = [candidate(f"8:{n}", image=20 + n) for n in range(1, 4)]
    train = [
        query("9:1", 0, ["9:1", "9:2"], text="A cat – größer."),
        query("9:2", 3, ["9:11"], image=1),
        *[query("8:1", 7, ["8:1"], text="Make it red.", image=22)] * 3,
    ]
    write_lines(root / "query/union_train/mbeir_union_up_train.jsonl", train)
    write_lines(root / "cand_pool/global/mbeir_union_train_cand_pool.jsonl", [*images, *texts, *edits])
    write_lines(root / "cand_pool/global/mbeir_union_test_cand_pool.jsonl", [*edits, *images, *texts])
    write_lines(root / "cand_pool/local/mbeir_mscoco_task0_test_cand_pool.jsonl", images)
    write_lines(root / "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl", edits[:2])
    test = {
        0: query("9:3", 0, ["9:3"], text="Another."),
        3: query("9:4", 3, ["9:12", "9:13"], image=2),
        7: query("8:2", 7, ["8:2"], text="Less.", image=30),
    }
    for task, record in test.items():
        write_lines(root / f"query/test/mbeir_{TASKS[task]}_test.jsonl", [record])
        qrels = root / f"qrels/test/mbeir_{TASKS[task]}_test_qrels.txt"
        qrels.parent.mkdir(parents=True, exist_ok=True)
        qrels.write_text("".join(f"{record['qid']} 0 {did} 1 {task}\n" for did in record["pos_cand_list"]))
    for number in (1, 2, 3, 4, 21, 22, 23, 30):
        path = root / f"mbeir_images/a/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


def pack(root: Path, *, parts: int = 3, compress: bool = True) -> list[Path]:
    """Replace the image folder by the archive cut into parts, as it is published."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(root / "mbeir_images", arcname="./mbeir_images")
    content = gzip.compress(buffer.getvalue(), mtime=0) if compress else buffer.getvalue()
    shutil.rmtree(root / "mbeir_images")
    size = -(-len(content) // parts)
    suffix = ".tar.gz" if compress else ".tar"
    written = []
    for number in range(parts):
        path = root / f"mbeir_images{suffix}.part-{number:02d}"
        path.write_bytes(content[number * size : (number + 1) * size])
        written.append(path)
    return written
