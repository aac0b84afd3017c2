"""`texts.yaml`: several sets of texts that become one data directory with a task each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.data.building import Qrel
from lit_mmembed.data.sources.base import SPLITS, Item, Pools, Qrels, Source
from lit_mmembed.data.sources.beir import BeirSource
from lit_mmembed.data.sources.texts.instructions import InstructionFile, checked_wordings, dataset_name
from lit_mmembed.data.sources.texts.reading import FORMS
from lit_mmembed.data.sources.texts.source import TextSource
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task

LISTING = "texts.yaml"
NEEDED = ("name", "id", "format", "path", "instructions")
COMMON = (*NEEDED, "splits", "licence")
OPTIONS = {
    "beir": COMMON,
    "tevatron": (*COMMON, "files", "held_out", "corpus"),
    **dict.fromkeys(("triplets", "nli", "pairs"), (*COMMON, "files", "held_out", "columns")),
}
"""What a set of each format may say."""
MBEIR_NUMBERS = range(10)

Entry = Mapping[str, Any]


class TextListing:
    """Reads the sets that a `texts.yaml` lists, one after the other.

    Args:
        root: The folder with `texts.yaml`, or the file itself.
    """

    def __init__(self, root: Path) -> None:
        self.file = Path(root) / LISTING if Path(root).is_dir() else Path(root)
        name, entries = _entries(self.file)
        self.name = name
        self._sources: list[Source] = [self._at(entry, lambda entry=entry: self._source(entry)) for entry in entries]
        self.tasks: tuple[Task, ...] = tuple(source.tasks[0] for source in self._sources)
        self._instructions = self._instruction_file(entries)
        self.instructions_path = self._instructions.path if self._instructions else None
        self._licences = tuple(dict.fromkeys(str(entry["licence"]) for entry in entries if entry.get("licence")))

    def items(self) -> Iterator[Item]:
        """Yield the samples of each set in turn."""
        for source in self._sources:
            yield from source.items()

    def qrels(self) -> Qrels:
        """Return the judged pairs of all sets."""
        rows: dict[str, list[Iterable[Qrel]]] = {}
        for source in self._sources:
            for split, judged in source.qrels().items():
                rows.setdefault(split, []).append(judged)
        return {split: chain.from_iterable(rows[split]) for split in SPLITS if split in rows}

    def pools(self) -> Pools:
        """Return each set's documents as its task's local pool."""
        pools: dict[str, dict[str, Iterable[str]]] = {}
        for source in self._sources:
            for split, own in (source.pools() or {}).items():
                pools.setdefault(split, {}).update(own)
        return pools

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: every query is there once."""
        return {}

    def licences(self) -> tuple[str, ...]:
        """Return what the sets name."""
        return self._licences

    def _source(self, entry: Entry) -> Source:
        path, number = self.file.parent / entry["path"], entry["id"]
        splits = _names(entry["splits"]) if entry.get("splits") else None
        if entry["format"] == "beir":
            return BeirSource(path, number, splits, name=entry["name"], prefix=f"{number}:")
        folder = path if path.is_dir() else path.parent
        corpus = [folder / name for name in _names(entry.get("corpus") or [])] or None
        files = {split: _names(listed) for split, listed in (entry.get("files") or {}).items()}
        return TextSource(
            path,
            form=entry["format"],
            name=entry["name"],
            dataset_id=number,
            splits=splits,
            files=files,
            columns=entry.get("columns"),
            corpus=corpus,
            held_out=entry.get("held_out"),
        )

    def _instruction_file(self, entries: list[Entry]) -> InstructionFile | None:
        wordings = {task: entry["instructions"] for task, entry in zip(self.tasks, entries, strict=True)}
        without = [task.dataset for task, listed in wordings.items() if not listed]
        if len(without) == len(wordings):
            return None
        if without:
            fix = "give it some, or write `instructions: []` for every set and train with the prompt policy none"
            raise InputError("has no instructions, and other sets have", file=self.file, record=without[0], fix=fix)
        return InstructionFile(wordings)

    def _at(self, entry: Entry, read: Any) -> Any:
        """Name the listing and the set where an error names no file of the set."""
        try:
            return read()
        except InputError as wrong:
            record = str(entry["name"]) if wrong.file is None else wrong.record
            raise InputError(wrong.problem, file=wrong.file or self.file, record=record, fix=wrong.fix) from None


def _entries(file: Path) -> tuple[str, list[Entry]]:
    content = _yaml(file)
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not isinstance(content.get("name"), str):
        raise InputError("is no listing of texts", file=file, fix="write `name: ...` and `datasets: [...]`")
    unknown = sorted(str(key) for key in set(content) - {"name", "datasets"})
    if unknown:
        raise InputError(f"has unknown keys: {', '.join(unknown)}", file=file, fix="use name, datasets")
    for place, entry in enumerate(entries, start=1):
        named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
        record = entry["name"] if named else f"datasets, number {place}"
        try:
            _check_entry(entry)
        except InputError as wrong:
            raise InputError(wrong.problem, file=file, record=record, fix=wrong.fix) from None
    for key in ("id", "name"):
        values = [str(entry[key]).lower() for entry in entries]
        twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if twice is not None:
            raise InputError(f"{key} {twice} is given to two sets", file=file, fix=f"give every set its own {key}")
    return dataset_name(content["name"]), entries


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError("does not exist", file=file, fix=f"write {LISTING}: docs/data.md shows one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise InputError(f"is not YAML: {broken}", file=file, fix="repair it") from None


def _check_entry(entry: Any) -> None:
    if not isinstance(entry, dict):
        raise InputError("is no set of texts", fix=f"write {', '.join(NEEDED)}")
    missing = [key for key in NEEDED if entry.get(key) is None]
    if missing:
        raise InputError(f"lacks {', '.join(missing)}", fix="`instructions: []` says that there are none")
    form = entry["format"]
    if form not in OPTIONS:
        raise InputError(f"format {form!r} is unknown", fix=f"use one of {', '.join(OPTIONS)}")
    unknown = sorted(str(key) for key in set(entry) - set(OPTIONS[form]))
    if unknown:
        raise InputError(f"{form} has no option {', '.join(unknown)}", fix=f"use {', '.join(OPTIONS[form])}")
    dataset_name(_typed(entry, "name", str))
    number = _typed(entry, "id", int)
    if isinstance(number, bool) or number < 0 or number in MBEIR_NUMBERS:
        raise InputError(f"id {number!r} is negative or one of M-BEIR's", fix="take a whole number from 10 on")
    _typed(entry, "path", str)
    if _typed(entry, "instructions", list):
        checked_wordings(entry["instructions"])
    _check_options(entry)


def _check_options(entry: Entry) -> None:
    for key in ("splits", "corpus"):
        if entry.get(key) is not None and not _are_names(entry[key]):
            raise InputError(f"{key} is not a list of names", fix=f"write {key}: [...]")
    for key in ("files", "columns", "held_out"):
        if entry.get(key) is not None:
            _typed(entry, key, dict)
    for key in ("files", "columns"):
        if not all(_are_names(listed) for listed in (entry.get(key) or {}).values()):
            raise InputError(f"{key} does not give names", fix=f"write {key}: {{...: NAME or [NAME, ...]}}")
    for split in [*_names(entry.get("splits") or []), *(entry.get("files") or ())]:
        if split not in SPLITS:
            raise InputError(f"split {split!r} is unknown", fix=f"use {', '.join(SPLITS)}")


def _names(listed: str | list[str]) -> list[str]:
    return [listed] if isinstance(listed, str) else listed


def _are_names(listed: Any) -> bool:
    named = _names(listed) if isinstance(listed, str | list) else []
    return bool(named) and all(isinstance(name, str) and name for name in named)


def _typed(entry: Entry, key: str, kind: type) -> Any:
    if not isinstance(entry[key], kind):
        raise InputError(f"{key} {entry[key]!r} is not of the right kind", fix=f"give it as {_KINDS[kind]}")
    return entry[key]


_KINDS = {str: "a string", int: "a whole number", list: "a list", dict: "a mapping"}
assert set(OPTIONS) == {"beir", *FORMS}
