"""WordNet: a word in a sentence, or beside a more general one, asks for the definition of the sense that is meant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from lit_mmembed.data.sources.emoji_beir.draws import pick, shuffled
from lit_mmembed.data.sources.emoji_texts.sets import (
    SPLITS,
    Passage,
    TextSet,
    capital_first,
    numbered,
    read_wordings,
    split_of,
)
from lit_mmembed.data.sources.emoji_texts.wordnet_files import Sense

COUNT = 1600
"""Words that are asked for."""
SENSES = (2, 6)
"""How many senses such a word has, at least and at most."""
LONGEST = 40
"""Words of a definition, and of an example."""
WORD = re.compile(r"[a-z]{3,14}")
PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
MOST = {"train": 4, "dev": 2, "test": 2}
"""Questions per word."""


def wordnet_set(senses: Sequence[Sense], seed: int, *, count: int = COUNT) -> TextSet:
    """Make the set: all senses of `count` words, at least one of which has an example with the word.

    Args:
        senses: What `read_senses` returned.
        seed: Which words are chosen, worded and held out.
        count: How many words.
    """
    wordings = read_wordings("wordnet")
    by_key = {sense.key: sense for sense in senses}
    chosen = _choose(senses, seed, count)
    asked = {
        split: [
            question
            for word, meant in chosen.items()
            if split_of(seed, "word", word) == split
            for question in _ask(word, list(_uses(word, meant, by_key)), wordings, (split, seed))
        ]
        for split in SPLITS
    }
    passages = [Passage(_id(word, sense), _tell(word, sense)) for word, meant in chosen.items() for sense in meant]
    pool = shuffled(passages, seed, "wordnet", lambda passage: passage.id)
    questions = {split: numbered(f"word-{split}", asked[split]) for split in SPLITS}
    return TextSet("WordNet", 111, "wordnet", tuple(wordings["instructions"]), tuple(pool), questions)


def _choose(senses: Sequence[Sense], seed: int, count: int) -> dict[str, list[Sense]]:
    by_word: dict[str, list[Sense]] = defaultdict(list)
    for sense in senses:
        for word in sense.words:
            if WORD.fullmatch(word):
                by_word[word].append(sense)
    chosen: dict[str, list[Sense]] = {}
    taken: set[str] = set()
    for word in shuffled(by_word, seed, "word"):
        meant = by_word[word]
        right = SENSES[0] <= len(meant) <= SENSES[1] and all(len(s.definition.split()) <= LONGEST for s in meant)
        # A sense is told once: words that share one would give two splits the same definition.
        if not right or taken.intersection(s.key for s in meant) or not any(_examples(word, s) for s in meant):
            continue
        chosen[word] = meant
        taken.update(sense.key for sense in meant)
        if len(chosen) == count:
            break
    return chosen


def _uses(word: str, meant: Iterable[Sense], by_key: dict[str, Sense]) -> Iterator[tuple[str, str, Sense]]:
    """Yield (form, text, sense): an example with the word, or a more general word that fits no other sense of it."""
    meant = list(meant)
    general = {sense.key: {by_key[key].words[0] for key in sense.kinds if key in by_key} for sense in meant}
    for sense in meant:
        for example in _examples(word, sense):
            yield "example", example, sense
        others = set().union(*(words for key, words in general.items() if key != sense.key))
        for kind in sorted(general[sense.key] - others - {word}) if sense.part == "noun" else ():
            yield "kind", kind, sense


def _ask(
    word: str, uses: list[tuple[str, str, Sense]], wordings: dict, draw: tuple[str, int]
) -> Iterator[tuple[str, list[str]]]:
    split, seed = draw
    for form, text, sense in shuffled(uses, seed, f"uses of {word}", lambda use: use[:2])[: MOST[split]]:
        template = pick(wordings[form][split], seed, "ask", word, text)
        yield capital_first(template.format(w=word, e=text, k=text)), [_id(word, sense)]


def _examples(word: str, sense: Sense) -> list[str]:
    return [e for e in sense.examples if re.search(rf"\b{word}\w{{0,3}}\b", e) and 2 <= len(e.split()) <= LONGEST]


def _tell(word: str, sense: Sense) -> str:
    others = [other for other in sense.words if other != word][:4]
    also = f" Also: {', '.join(others)}." if others else ""
    return f"{word} ({PARTS[sense.part]}): {sense.definition}.{also}"


def _id(word: str, sense: Sense) -> str:
    return f"word-{word}-{sense.key}"
