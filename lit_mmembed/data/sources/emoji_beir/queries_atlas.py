"""The Atlas dataset: facts asked in words or over a picture, answered by a passage, or a flag or an outline with it.

One passage text stands in three documents (alone, beside the flag, beside the outline): only what the instruction asks
for tells them apart. Evaluation pools also hold passages of facts that other splits own, so that a question meets the
same country in other relations and the same relation in neighbouring countries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.countries import Country
from lit_mmembed.data.sources.emoji_beir.draws import fraction, pick, shuffled
from lit_mmembed.data.sources.emoji_beir.gallery import Gallery
from lit_mmembed.data.sources.emoji_beir.records import ATLAS, Collection
from lit_mmembed.data.sources.emoji_beir.relations import PICTURED, RELATIONS
from lit_mmembed.data.sources.emoji_beir.splits import Roles, fact_split
from lit_mmembed.data.sources.emoji_beir.wordings import SPLITS, sentence

DISTRACTORS = 0.4
"""Share of the other splits' facts that an evaluation pool tells too."""
OUTLINED = 0.3
"""Share of the (image, text) -> text questions that show the outline instead of the flag."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation of a country that has it."""

    country: Country
    relation: str

    @property
    def name(self) -> str:
        """A key for draws."""
        return f"{self.country.letters} {self.relation}"


@dataclass(frozen=True, slots=True)
class AtlasScene:
    """Everything that the tasks of one split draw from."""

    split: str
    seed: int
    gallery: Gallery
    collection: Collection
    facts: list[Fact]
    """Those that this split owns."""
    roles: dict[str, Roles]
    by_letters: dict[str, Country]

    def passage(self, fact: Fact) -> str:
        """Return the document id of the passage alone."""
        return self.collection.add_document(ATLAS, self.split, text=self.told(fact))

    def flag_passage(self, fact: Fact) -> str:
        """Return the document id of flag and passage."""
        role = self.roles[fact.country.letters]
        train = pick(role.train, self.seed, "flag", fact.name) if self.split == "train" else ""
        path = self.gallery.draw(train or role.pool[self.split], fact.country.letters)
        return self.collection.add_document(ATLAS, self.split, text=self.told(fact), image=path)

    def outline_passage(self, fact: Fact) -> str:
        """Return the document id of outline and passage."""
        return self.collection.add_document(ATLAS, self.split, text=self.told(fact), image=self.outline(fact))

    def told(self, fact: Fact) -> str:
        """Word a fact as this split words it."""
        templates = RELATIONS[fact.relation].passages[: 2 if self.split == "train" else None]
        country = fact.country
        near = pick(country.near, self.seed, "near", self.split, fact.name) if country.near else ""
        if not near:
            templates = tuple(t for t in templates if "{n}" not in t)
        template = pick(templates, self.seed, "passage", self.split, fact.name)
        return sentence(template.format(c=country.name, o=country.facts[fact.relation], n=near))

    def outline(self, fact: Fact) -> str:
        """Return the path of the country's outline in the style of this split."""
        return self.gallery.draw_outline(fact.country.outline, fact.country.letters, self.split)

    def flag(self, fact: Fact) -> str:
        """Return the path of a flag that asks."""
        role = self.roles[fact.country.letters]
        vendor = pick(role.train, self.seed, "asks", fact.name) if self.split == "train" else role.query[self.split]
        return self.gallery.draw(vendor, fact.country.letters)

    def same_picture(self, fact: Fact, path: str) -> list[Fact]:
        """Return the fact, and the split's same facts of other countries that this very picture shows."""
        others = [self.by_letters[key] for key in sorted(self.gallery.shows(path)) if key in self.by_letters]
        asked = [Fact(country, fact.relation) for country in others if fact.relation in country.facts]
        owned = [f for f in asked if fact_split(f.country.letters, f.relation, self.seed) == self.split]
        return owned or [fact]

    def question(self, fact: Fact, task: int, subject: str) -> str:
        """Ask for a fact as this split asks, a wording per task."""
        templates = getattr(RELATIONS[fact.relation], self.split)
        return sentence(pick(templates, self.seed, "question", self.split, task, fact.name).format(c=subject))


def add_atlas_queries(
    collection: Collection,
    countries: Iterable[Country],
    roles: dict[str, Roles],
    gallery: Gallery,
    *,
    seed: int,
    most: dict[str, dict[int, int]],
) -> None:
    """Add all queries and candidates of the Atlas dataset; `most` caps the queries per split and task."""
    by_letters = {country.letters: country for country in countries}
    facts = [Fact(country, relation) for country in by_letters.values() for relation in country.facts]
    owner = {fact.name: fact_split(fact.country.letters, fact.relation, seed) for fact in facts}
    for split in SPLITS:
        owned = [fact for fact in facts if owner[fact.name] == split]
        scene = AtlasScene(split, seed, gallery, collection, owned, roles, by_letters)
        _tell(scene, [fact for fact in facts if owner[fact.name] != split])
        _ask_in_words(scene, most[split])
        _ask_over_pictures(scene, most[split])


def _tell(scene: AtlasScene, others: list[Fact]) -> None:
    for fact in scene.facts:
        scene.passage(fact)
        if scene.split != "train":
            scene.flag_passage(fact)
            scene.outline_passage(fact)
    for fact in others if scene.split != "train" else ():
        if fraction(scene.seed, "distractor", scene.split, fact.name) < DISTRACTORS:
            scene.passage(fact)


def _ask_in_words(scene: AtlasScene, most: dict[int, int]) -> None:
    for task, answer in ((1, scene.passage), (2, scene.flag_passage)):
        for fact in _asked(scene, task, most):
            text = scene.question(fact, task, fact.country.name)
            scene.collection.add_query(task, scene.split, [answer(fact)], text=text)


def _ask_over_pictures(scene: AtlasScene, most: dict[int, int]) -> None:
    for task, answer in ((6, scene.passage), (8, scene.outline_passage)):
        for fact in _asked(scene, task, most):
            outlined = task == 6 and fraction(scene.seed, "outlined", fact.name) < OUTLINED
            path = scene.outline(fact) if outlined else scene.flag(fact)
            subject = pick(PICTURED[scene.split], scene.seed, "subject", task, fact.name)
            positives = [answer(same) for same in scene.same_picture(fact, path)]
            text = scene.question(fact, task, subject)
            scene.collection.add_query(task, scene.split, positives, text=text, image=path)


def _asked(scene: AtlasScene, task: int, most: dict[int, int]) -> list[Fact]:
    return shuffled(scene.facts, scene.seed, f"asked {task}", lambda fact: fact.name)[: most[task]]
