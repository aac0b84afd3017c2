"""Who is held out from what: which drawing of which concept belongs to which split, and which fact to which.

An emoji has four drawings: two train, the other two are its pool image and its query image in one evaluation split, or
in none. A flag has five: two train, one validates, two test. Relatives (one person in other skin tones or genders, and
everything that shares a picture) are kept together, so equal pixels never lie in two splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lit_mmembed.data.sources.emoji_beir.concepts import Concept
from lit_mmembed.data.sources.emoji_beir.drawings import EMOJI_VENDORS
from lit_mmembed.data.sources.emoji_beir.draws import fraction, shuffled
from lit_mmembed.data.sources.emoji_beir.gallery import Gallery

EVALUATION = ("val", "test")
VALIDATED, TESTED = 0.30, 0.45
"""Shares of the families of emoji."""
MIRRORED = 0.35
"""Share of families whose query image is in the pool too: M-BEIR's trap of wrong modality for image -> text."""
NOVEL = 0.12
"""Share of (person, skin tone) pairs of evaluated families that training never shows in any drawing."""
FACTS_VALIDATED, FACTS_TESTED = 0.17, 0.25
"""Shares of the (country, relation) pairs."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What each drawing of a concept is for: names of vendors."""

    train: tuple[str, ...]
    pool: Mapping[str, str] = field(default_factory=dict)
    """Split to the drawing that is a candidate there."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Split to the drawing that asks there."""
    mirrored: bool = False
    """The query drawing is a candidate too."""


def assign_roles(concepts: Iterable[Concept], gallery: Gallery, seed: int) -> dict[str, Roles]:
    """Return the roles of every concept by its key; the gallery must have drawn all of them."""
    concepts = list(concepts)
    families = _families(concepts, gallery.look_alikes())
    roles = {}
    for concept in concepts:
        family = families[concept.key]
        roles[concept.key] = _flag_roles(family, seed) if concept.is_flag else _emoji_roles(concept, family, seed)
    return roles


def fact_split(letters: str, relation: str, seed: int) -> str:
    """Return the split that owns a (country, relation) pair."""
    return _split(fraction(seed, "fact", letters, relation), FACTS_VALIDATED, FACTS_TESTED)


def _emoji_roles(concept: Concept, family: str, seed: int) -> Roles:
    order = shuffled(EMOJI_VENDORS, seed, f"drawings of {family}")
    split = _split(fraction(seed, "split", family), VALIDATED, TESTED)
    if split == "train":
        return Roles(tuple(order[:2]))
    novel = concept.tone > 0 and fraction(seed, "novel", concept.key) < NOVEL
    return Roles(
        train=() if novel else tuple(order[:2]),
        pool={split: order[2]},
        query={split: order[3]},
        mirrored=fraction(seed, "mirrored", family) < MIRRORED,
    )


def _flag_roles(family: str, seed: int) -> Roles:
    others = shuffled(("openmoji", "twemoji", "circle-flag"), seed, f"flags of {family}")
    pair = ["flag", "square-flag"]
    # The two shapes of one package are near-copies of each other: both train or both test.
    if fraction(seed, "pair", family) < 0.5:
        train, val, test = pair, others[0], others[1:]
    else:
        train, val, test = others[:2], others[2], pair
    return Roles(tuple(train), pool={"val": val, "test": test[0]}, query={"val": val, "test": test[1]}, mirrored=True)


def _split(draw: float, validated: float, tested: float) -> str:
    if draw < validated:
        return "val"
    return "test" if draw < validated + tested else "train"


def _families(concepts: list[Concept], look_alikes: list[frozenset[str]]) -> dict[str, str]:
    """Join concepts of one family and concepts that share a picture; name each group by its first member."""
    parent = {concept.key: concept.key for concept in concepts}

    def root(key: str) -> str:
        """Follow the links of a key to the end."""
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    first_of: dict[str, str] = {}
    for concept in concepts:
        first_of.setdefault(concept.family, concept.key)
        joined = sorted((root(concept.key), root(first_of[concept.family])))
        parent[joined[1]] = joined[0]
    for keys in look_alikes:
        roots = sorted({root(key) for key in keys if key in parent})
        for other in roots[1:]:
            parent[other] = roots[0]
    return {key: root(key) for key in parent}
