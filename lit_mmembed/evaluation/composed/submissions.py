"""The files that the servers of CIRCO, CIRR and FashionIQ take: written, and read back strictly.

CIRCO (its README): {"query id": [50 numbers of pictures]}. CIRR (its Test-split_server.md): {"version": "rc2",
"metric": "recall" or "recall_subset", "pair id": [50 or 3 names]}. FashionIQ (the page of its challenge of 2019, and
start_kit/eval.py): a zip of dress.predict.json, shirt.predict.json and toptee.predict.json, each the caption file's
entries with a "ranking" of names.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.composed.queries import ComposedQuery, ComposedSplit
from lit_mmembed.evaluation.composed.run import ComposedRun
from lit_mmembed.files import atomic_file, read_json

COUNT, SUBSET_COUNT = 50, 3
VERSION = {"version": "rc2"}
METRICS = {COUNT: "recall", SUBSET_COUNT: "recall_subset"}
CATEGORIES = ("dress", "shirt", "toptee")
EPOCH = (1980, 1, 1, 0, 0, 0)

Predictions = dict[str, list[str]]
"""Query id -> ids of documents, best first."""


def write_submission(path: Path, run: ComposedRun, split: ComposedSplit) -> None:
    """Write a run as its protocol's file: JSON of CIRCO or CIRR's "recall", a zip of FashionIQ.

    Raises:
        InputError: a query has fewer than 50 documents or several wordings, or the file's name has the wrong ending.
    """
    _check_ending(path, ".zip" if split.protocol == "fashioniq" else ".json")
    best = top(run, COUNT)
    if split.protocol == "fashioniq":
        _write_zip(path, split.queries, best)
    elif split.protocol == "cirr":
        write_cirr(path, split.queries, best, COUNT)
    else:
        numbers = {query.number: [int(_name(did)) for did in best[query.id]] for query in split.queries}
        _write(path, dict(sorted(numbers.items(), key=lambda item: int(item[0]))))


def write_cirr(path: Path, queries: Sequence[ComposedQuery], best: Predictions, count: int) -> None:
    """Write CIRR's file for "recall" (50 names a query) or "recall_subset" (3)."""
    lists = {query.number: [_name(did) for did in best[query.id]] for query in queries}
    _write(path, {**VERSION, "metric": METRICS[count], **lists})


def top(run: ComposedRun, count: int) -> Predictions:
    """Take the best documents of each query.

    Raises:
        InputError: a query has fewer, or several rankings.
    """
    best: Predictions = {}
    for place in range(len(run.owner)):
        qid, names = run.query_of(place).id, run.documents(place)
        if len(names) < count:
            problem, fix = f"has {len(names)} documents, {count} are wanted", "search deeper: --depth"
            raise InputError(problem, file=run.file, record=f"query {qid}", fix=fix)
        if qid in best:
            fix = "evaluate with --prompts first"
            raise InputError("has several wordings", file=run.file, record=f"query {qid}", fix=fix)
        best[qid] = names[:count]
    return best


def read_submission(path: Path, split: ComposedSplit, count: int = COUNT) -> Predictions:
    """Read the protocol's file strictly: all queries, `count` different pictures of the gallery each, nothing else.

    Raises:
        InputError: anything else; it names file and query.
    """
    if split.protocol == "fashioniq":
        return _read_zip(path, split)
    content = _read(path.read_text(encoding="utf-8") if path.exists() else read_json(path), path)
    if not isinstance(content, dict):
        raise InputError("is no JSON object", file=path, fix="write {query: [pictures]}")
    if split.protocol == "cirr":
        for field, wanted in {**VERSION, "metric": METRICS[count]}.items():
            if content.pop(field, None) != wanted:
                raise InputError(f"{field} is not {wanted!r}", file=path, fix=f'write "{field}": "{wanted}"')
    by_number = {query.number: query for query in split.queries}
    _check_queries(content, by_number, path)
    kind = int if split.protocol == "circo" else str
    return {
        by_number[number].id: _documents(listed, split, (by_number[number], path), count=count, kind=kind)
        for number, listed in content.items()
    }


def _documents(
    listed: Any, split: ComposedSplit, place: tuple[ComposedQuery, Path], *, count: int, kind: type
) -> list[str]:
    """Check one query's list; return documents' ids."""
    query, path = place
    record = f"query {query.number}"
    if not isinstance(listed, list) or not all(type(name) is kind for name in listed):
        wanted = "numbers" if kind is int else "names"
        raise InputError(f"is no list of {wanted}", file=path, record=record, fix=f"list {count} {wanted} of pictures")
    if len(set(listed)) < len(listed):
        again = next(name for place, name in enumerate(listed) if name in listed[:place])
        raise InputError(f"has picture {again} twice", file=path, record=record, fix="list each picture once")
    if len(listed) != count:
        problem = f"has {len(listed)} pictures instead of {count}"
        raise InputError(problem, file=path, record=record, fix=f"list the best {count}")
    prefix = query.reference.partition(":")[0]
    dids = [f"{prefix}:{name}" for name in listed]
    known = query.members if count == SUBSET_COUNT else split.gallery_of(query)
    for did, name in zip(dids, listed, strict=True):
        if did not in known:
            what = "subset" if count == SUBSET_COUNT else "gallery"
            raise InputError(f"has picture {name}, which is not in the {what}", file=path, record=record, fix="rank it")
    return dids


def _check_queries(given: Iterable[str], wanted: Mapping[str, ComposedQuery], path: Path) -> None:
    given = set(given)
    for number in wanted:
        if number not in given:
            count = sum(one not in given for one in wanted)
            problem = f"{count} of {len(wanted)} queries are missing"
            raise InputError(problem, file=path, record=f"query {number}", fix="predict for every query of the split")
    unknown = sorted(given - set(wanted))
    if unknown:
        raise InputError("is no query of this split", file=path, record=unknown[0], fix="leave it out")


def _write_zip(path: Path, queries: Sequence[ComposedQuery], best: Predictions) -> None:
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for category in CATEGORIES:
            rows = [
                {
                    "candidate": _name(query.reference),
                    "captions": list(query.captions),
                    "ranking": [_name(did) for did in best[query.id]],
                }
                for query in _of_category(queries, category)
            ]
            content = json.dumps(rows, indent=1, ensure_ascii=False)
            archive.writestr(zipfile.ZipInfo(f"{category}.predict.json", EPOCH), content)


def _read_zip(path: Path, split: ComposedSplit) -> Predictions:
    wanted = {f"{category}.predict.json": category for category in CATEGORIES}
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {name: archive.read(name).decode() for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as broken:
        raise InputError(f"is no zip of predictions: {broken}", file=path, fix="write it again") from None
    if sorted(texts) != sorted(wanted):
        problem = f"holds {', '.join(sorted(texts))}"
        raise InputError(problem, file=path, fix=f"put {', '.join(wanted)} into it and nothing else")
    best: Predictions = {}
    for name, category in wanted.items():
        rows, queries = _read(texts[name], path / name), _of_category(split.queries, category)
        if not isinstance(rows, list) or len(rows) != len(queries):
            problem = f"has {len(rows)} queries instead of {len(queries)}"
            raise InputError(problem, file=path / name, fix="keep the caption file's queries in their order")
        for row, query in zip(rows, queries, strict=True):
            if not isinstance(row, dict) or row.get("candidate") != _name(query.reference):
                problem = f"candidate is not {_name(query.reference)}"
                raise InputError(problem, file=path / name, record=f"query {query.number}", fix="keep the order")
            best[query.id] = _documents(row.get("ranking"), split, (query, path / name), count=COUNT, kind=str)
    return best


def _of_category(queries: Sequence[ComposedQuery], category: str) -> list[ComposedQuery]:
    return [query for query in queries if query.task.dataset.endswith(f"-{category}")]


def _check_ending(path: Path, ending: str) -> None:
    if path.suffix != ending:
        raise InputError(f"does not end with {ending}", file=path, fix=f"name a file that ends with {ending}")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(text: str, path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            again = next(name for place, name in enumerate(names) if name in names[:place])
            raise InputError("stands twice", file=path, record=f"query {again}", fix="predict once for every query")
        return content

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as broken:
        raise InputError(f"is not JSON: {broken}", file=path, fix="write it again") from None


def _name(did: str) -> str:
    """What the data set calls a picture: the id without the dataset's number."""
    return did.partition(":")[2]
