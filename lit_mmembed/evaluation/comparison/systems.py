"""Which systems are compared with which, what they are called, and whether they can be compared at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.comparison.runs import NAME_THEM, Evaluated, Group, described
from lit_mmembed.evaluation.comparison.statistics import is_paired
from lit_mmembed.evaluation.report.collect import System

LABELS = ("encoder", "model", "instructions")
FIELDS = (*LABELS, "variant")


@dataclass(frozen=True)
class Contender:
    """One system of a comparison."""

    name: str
    evaluations: tuple[Evaluated, ...]
    """One a seed, ascending."""

    @property
    def seeds(self) -> list[int]:
        """Ascending."""
        return [evaluation.seed for evaluation in self.evaluations]


class Pair(NamedTuple):
    """Two systems that are compared: what is reported is other - base."""

    base: Contender
    other: Contender

    @property
    def is_paired(self) -> bool:
        """Whether both have the same seeds."""
        return is_paired((self.base.seeds, self.other.seeds))

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.other.name} against {self.base.name}"


class Pairing(NamedTuple):
    """All pairs."""

    shared: str
    """What all systems have in common: "NV-Embed, with instructions"."""
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    """Systems that only one of two run folders has."""

    @property
    def evaluations(self) -> list[Evaluated]:
        """Every evaluation once."""
        members = [e for pair in self.pairs for contender in pair for e in contender.evaluations]
        return list({evaluation.folder: evaluation for evaluation in members}.values())


def pair_up(groups: Sequence[Group]) -> Pairing:
    """Compare the first group with each other one: its one system, or each that both have by their labels.

    Raises:
        InputError: fewer than two groups, systems that have nothing in common, or one seed twice.
    """
    if not groups:
        raise InputError("`mmembed compare` needs two or more run folders", fix=f"{NAME_THEM}, the base first")
    if len(groups) < 2:
        problem = f"one run is nothing to compare with: {described(groups[0])}"
        raise InputError(problem, file=_place_of(groups[0]), fix=f"{NAME_THEM}, the base first")
    matched = [(place, *match) for place in range(1, len(groups)) for match in _matches(groups[0], groups[place])]
    used = list(dict.fromkeys(key for place, base, other in matched for key in ((0, base), (place, other))))
    names = _names(groups, used)
    contenders = {
        (place, system): Contender(names[place, system], _seeds(groups[place].systems[system], names[place, system]))
        for place, system in used
    }
    pairs = tuple(Pair(contenders[0, base], contenders[place, other]) for place, base, other in matched)
    everything = [(place, system) for place, group in enumerate(groups) for system in group.systems]
    left_out = [f"{_words(s, LABELS)} ({groups[place].name or _run_name(groups[place])})" for place, s in everything]
    rest = [words for key, words in zip(everything, left_out, strict=True) if key not in contenders]
    return Pairing(_shared([system for _, system in used]), pairs, tuple(rest))


def data_of(pairing: Pairing, given: Path | None) -> DataDirectory:
    """Open the data directory that all were evaluated on.

    Raises:
        InputError: it cannot be found, or the evaluations are of different data or splits.
    """
    evaluations = pairing.evaluations
    first = evaluations[0]
    for evaluation in evaluations[1:]:
        for what, theirs, ours in (
            ("data", evaluation.record.get("data_hash"), first.record.get("data_hash")),
            ("split", evaluation.split, first.split),
        ):
            if theirs and ours and theirs != ours:
                problem = f"was evaluated on other {what} ({str(theirs)[:12]}) than {first.folder} ({str(ours)[:12]})"
                raise InputError(problem, file=evaluation.folder, fix="compare evaluations of one data directory")
    known = [e.data for e in evaluations if e.data and (e.data / "manifest.json").exists()]
    path = given or next(iter(known), None)
    if path is None:
        raise InputError("the data it was evaluated on is not to be found", file=first.folder, fix="give it by --data")
    directory = DataDirectory(path, on_bad_sample="skip")
    recorded = next((hash for e in evaluations if (hash := e.record.get("data_hash"))), None)
    if recorded and recorded != directory.hash:
        problem = f"is not the data that {first.folder} was evaluated on ({str(recorded)[:12]})"
        raise InputError(problem, file=path, fix="give that data directory by --data")
    return directory


def _matches(base: Group, other: Group) -> list[tuple[System, System]]:
    """Pairs of systems with equal labels, but for a label that has one value on each side and differs."""
    if len(base.systems) == len(other.systems) == 1:
        return [(next(iter(base.systems)), next(iter(other.systems)))]
    values = [[{getattr(s, field) for s in group.systems} for field in FIELDS] for group in (base, other)]
    kept = [f for f, a, b in zip(FIELDS, *values, strict=True) if a == b or max(len(a), len(b)) > 1]
    there = {tuple(getattr(system, field) for field in kept): system for system in other.systems}
    found = [
        (system, there[key]) for system in base.systems if (key := tuple(getattr(system, f) for f in kept)) in there
    ]
    if not found:
        problem = f"the runs have no system in common: {described(base)}; {described(other)}"
        raise InputError(problem, fix=NAME_THEM)
    return found


def _names(groups: Sequence[Group], used: Sequence[tuple[int, System]]) -> dict[tuple[int, System], str]:
    """The name given, or the labels that differ, or else the folders' paths where they differ."""
    differing = [f for f in FIELDS if len({getattr(system, f) for _, system in used}) > 1]
    if len({(place, _words(system, LABELS)) for place, system in used}) == len(used):
        differing = [f for f in differing if f in LABELS]
    names: dict[tuple[int, System], str] = {}
    for place, system in used:
        several = sum(other == place for other, _ in used) > 1
        words = _words(system, differing) if not groups[place].name or several else ""
        names[place, system] = f"{groups[place].name} {words}".strip()
    times = Counter(names.values())
    paths = _short_paths({place: _place_of(groups[place]) for place, _ in used})
    is_clear = {key: bool(name) and times[name] == 1 for key, name in names.items()}
    return {key: name if is_clear[key] else f"{paths[key[0]]} {name}".strip() for key, name in names.items()}


def _place_of(group: Group) -> Path:
    """The run folder; of an evaluation that no recipe made, its own."""
    return group.evaluations[0].run.folder.resolve()


def _short_paths(paths: Mapping[int, Path]) -> dict[int, str]:
    """As few folders of each path as tell it from the others: without what all end in, then from the right."""
    parts = {place: list(path.parts) for place, path in paths.items()}
    while all(len(part) > 1 for part in parts.values()) and len({part[-1] for part in parts.values()}) == 1:
        parts = {place: part[:-1] for place, part in parts.items()}
    for count in range(1, max(map(len, parts.values())) + 1):
        tails = {place: "/".join(part[-count:]) for place, part in parts.items()}
        if len(set(tails.values())) == len(tails):
            return tails
    return {place: f"{'/'.join(part)} ({place + 1})" for place, part in parts.items()}


def _words(system: System, fields: Sequence[str]) -> str:
    words = {field: getattr(system, field) for field in FIELDS if field in fields and getattr(system, field)}
    if "instructions" in words:
        words["instructions"] = f"{words['instructions']} instructions"
    return " ".join(words.values())


def _shared(systems: Sequence[System]) -> str:
    first, rest = systems[0], systems[1:]
    same = [f for f in LABELS if all(getattr(first, f) == getattr(s, f) for s in rest)]
    return ", ".join(filter(None, (_words(first, [field]) for field in same)))


def _run_name(group: Group) -> str:
    return group.evaluations[0].run.name


def _seeds(evaluations: tuple[Evaluated, ...], name: str) -> tuple[Evaluated, ...]:
    for one, next_one in pairwise(evaluations):
        if one.seed == next_one.seed:
            problem = f"seed {one.seed} of {name} is there twice: also {one.folder}"
            raise InputError(problem, file=next_one.folder, fix="name one evaluation of each seed")
    return evaluations
