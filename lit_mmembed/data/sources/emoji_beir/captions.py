"""Captions: with the label or by tags alone, each with every concept that it describes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.concepts import Concept
from lit_mmembed.data.sources.emoji_beir.draws import fraction, pick, shuffled
from lit_mmembed.data.sources.emoji_beir.wordings import CAPTIONS, HINTS, PLAIN, TONED, sentence, words_of

HINTED = {"train": 0.4, "val": 0.6, "test": 0.6}
"""Share of the concepts with enough tags that are also captioned, and in evaluation asked for, by tags alone."""
FLAGS_ASKING = 0.5
"""Share of the flags whose caption asks in evaluation: their captions are all alike."""
MOST_DESCRIBED = 4
"""A caption by tags alone that fits more concepts than this is not used."""
TRAINED_TAGS = 0.6
"""Share of a concept's tags that its training captions may use; evaluation uses all."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and the keys of the concepts that it describes."""

    text: str
    describes: frozenset[str]
    asks: bool
    """It is also a query of text -> image; in evaluation one caption of each concept is."""


def captions_of(shown: Iterable[Concept], all_concepts: list[Concept], split: str, seed: int) -> list[Caption]:
    """Return two captions of each shown concept, worded as the split words; equal texts are one caption."""
    merged: dict[str, Caption] = {}
    for concept in shown:
        hint = _hint(concept, all_concepts, split, seed)
        labelled = _labelled(concept, split, seed)
        found = [hint, labelled[0]] if hint else labelled
        thinned = concept.is_flag and fraction(seed, "flag asks", split, concept.key) >= FLAGS_ASKING
        for position, caption in enumerate(found):
            asks = split == "train" or (position == 0 and not thinned)
            before = merged.get(caption.text)
            merged[caption.text] = Caption(
                caption.text,
                caption.describes | (before.describes if before else frozenset()),
                asks=asks or bool(before and before.asks),
            )
    return list(merged.values())


def _labelled(concept: Concept, split: str, seed: int) -> list[Caption]:
    tags = _tags(concept, split, seed)
    templates = CAPTIONS[split] if len(tags) >= 2 else PLAIN[split]
    label = words_of(concept, pick(TONED[split], seed, "toned", split, concept.key))
    captions = []
    for number, template in enumerate(shuffled(templates, seed, f"caption {split} {concept.key}")[:2]):
        one, two = shuffled(tags, seed, f"tags {split} {concept.key} {number}")[:2] if len(tags) >= 2 else ("", "")
        text = sentence(template.format(label=label, one=one, two=two))
        captions.append(Caption(text, frozenset([concept.key]), asks=True))
    return captions


def _hint(concept: Concept, all_concepts: list[Concept], split: str, seed: int) -> Caption | None:
    """Describe a concept by three tags, if few concepts have these; tags do not tell skin tones apart."""
    tags = _tags(concept, split, seed)
    if concept.has_tones or len(tags) < 3 or fraction(seed, "hinted", split, concept.key) >= HINTED[split]:
        return None
    order = shuffled(tags, seed, f"hint {split} {concept.key}")
    # At least one tag that this concept's training captions never show.
    order.sort(key=lambda tag: tag in _trained_tags(concept, seed)) if split != "train" else None
    chosen = order[:3]
    described = frozenset(c.key for c in all_concepts if set(chosen) <= {*c.tags})
    if len(described) > MOST_DESCRIBED:
        return None
    template = pick(HINTS[split], seed, "hint", split, concept.key)
    text = sentence(template.format(one=chosen[0], two=chosen[1], three=chosen[2]))
    return Caption(text, described, asks=True)


def _tags(concept: Concept, split: str, seed: int) -> list[str]:
    return _trained_tags(concept, seed) if split == "train" else _useful_tags(concept)


def _trained_tags(concept: Concept, seed: int) -> list[str]:
    tags = shuffled(_useful_tags(concept), seed, f"trained tags {concept.base}")
    return tags[: max(2, round(TRAINED_TAGS * len(tags)))]


def _useful_tags(concept: Concept) -> list[str]:
    return [tag for tag in concept.tags if tag not in concept.label.lower().split()]
