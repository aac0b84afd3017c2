"""Edits: what must change for one concept to become another that differs in exactly one respect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.concepts import TONES, Concept, is_clock
from lit_mmembed.data.sources.emoji_beir.draws import pick, shuffled
from lit_mmembed.data.sources.emoji_beir.wordings import EDITS

CLOCK_EDITS = 4
"""Edits away from each clock: all pairs would drown the others."""


@dataclass(frozen=True, slots=True)
class Edit:
    """From one concept's picture, with these words, to another's."""

    source: str
    target: str
    text: str


def edits_between(concepts: Iterable[Concept], split: str, seed: int) -> Iterator[Edit]:
    """Yield every edit between concepts of a group, worded as the split words."""
    groups: dict[str, list[Concept]] = defaultdict(list)
    for concept in concepts:
        if group := _group(concept):
            groups[group].append(concept)
    for group, members in groups.items():
        for source in members:
            targets = shuffled(members, seed, f"targets of {source.key}", lambda c: c.key)
            changes = [(target, change) for target in targets if (change := _change(source, target))]
            for target, (kind, before, after) in changes[: CLOCK_EDITS if group == "clocks" else None]:
                templates: tuple[str, ...] = EDITS[kind][split]
                template = pick(templates, seed, "edit", split, source.key, target.key)
                yield Edit(source.key, target.key, template.format(from_=before, to=after))


def _group(concept: Concept) -> str | None:
    if is_clock(concept):
        return "clocks"
    if concept.colour:
        return f"coloured {concept.colour[1]}"
    return f"family {concept.family}" if concept.has_tones else None


def _change(source: Concept, target: Concept) -> tuple[str, str, str] | None:
    """Return (kind, before, after) when exactly one thing differs."""
    if source.key == target.key:
        return None
    if is_clock(source):
        return "time", source.label, target.label
    if source.colour and target.colour:
        return "colour", source.colour[0], target.colour[0]
    if source.base == target.base:
        return "tone", TONES[source.tone], TONES[target.tone]
    if source.tone != target.tone:
        return None
    if source.faces_right != target.faces_right:
        same_person = source.person == target.person
        return ("facing", _direction(source), _direction(target)) if same_person else None
    if source.person and target.person and source.person != target.person:
        return "person", source.person, target.person
    return None


def _direction(concept: Concept) -> str:
    return "facing right" if concept.faces_right else "facing left"
