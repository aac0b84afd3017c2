"""The Emoji dataset: text -> image, image -> text, image -> image and (image, text) -> image.

A split's pool holds the pictures that answer there, the query pictures of mirrored families (the query's own image is
the trap of wrong modality for image -> text) and every caption, those that ask text -> image included (the same trap
the other way round).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lit_mmembed.data.sources.emoji_beir.captions import Caption, captions_of
from lit_mmembed.data.sources.emoji_beir.concepts import Concept
from lit_mmembed.data.sources.emoji_beir.draws import pick, shuffled
from lit_mmembed.data.sources.emoji_beir.edits import edits_between
from lit_mmembed.data.sources.emoji_beir.gallery import Gallery
from lit_mmembed.data.sources.emoji_beir.records import EMOJI, Collection
from lit_mmembed.data.sources.emoji_beir.splits import EVALUATION, Roles
from lit_mmembed.data.sources.emoji_beir.wordings import SPLITS, sentence


@dataclass
class EmojiScene:
    """Everything that the tasks of one split draw from."""

    split: str
    seed: int
    gallery: Gallery
    collection: Collection
    concepts: dict[str, Concept]
    """Those that this split shows, by key."""
    pool_images: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Concept to the paths of its pictures in the pool."""
    query_images: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Concept to the paths of its pictures that may ask."""
    captions: list[Caption] = field(default_factory=list)

    def images_of(self, keys: Iterable[str]) -> list[str]:
        """Return the ids of the pool's pictures of any of these concepts, whoever else they show."""
        paths = {path for key in keys for path in self.pool_images.get(key, ())}
        return [self.collection.add_document(EMOJI, self.split, image=path) for path in sorted(paths)]

    def captions_of(self, keys: Iterable[str]) -> list[str]:
        """Return the ids of the captions that describe any of these concepts."""
        keys = set(keys)
        texts = sorted({caption.text for caption in self.captions if caption.describes & keys})
        return [self.collection.add_document(EMOJI, self.split, text=text) for text in texts]


def add_emoji_queries(
    collection: Collection,
    concepts: list[Concept],
    roles: dict[str, Roles],
    gallery: Gallery,
    *,
    seed: int,
    most: dict[str, dict[int, int]],
) -> None:
    """Add all queries and candidates of the Emoji dataset; `most` caps the queries per split and task."""
    for split in SPLITS:
        scene = _scene(split, concepts, roles, gallery, seed=seed, collection=collection)
        _describe(scene, concepts, most[split])
        _match_images(scene, roles, most[split][4])
        _edit(scene, roles, most[split][7])


def _scene(
    split: str,
    concepts: list[Concept],
    roles: dict[str, Roles],
    gallery: Gallery,
    *,
    seed: int,
    collection: Collection,
) -> EmojiScene:
    shown = [c for c in concepts if (roles[c.key].train if split == "train" else split in roles[c.key].pool)]
    scene = EmojiScene(split, seed, gallery, collection, {c.key: c for c in shown})
    for concept in shown:
        role = roles[concept.key]
        if split == "train":
            pool = query = list(role.train)
        else:
            query = [role.query[split]]
            pool = [role.pool[split], *(query if role.mirrored else ())]
        scene.pool_images[concept.key] = sorted({gallery.draw(vendor, concept.key) for vendor in pool})
        scene.query_images[concept.key] = sorted({gallery.draw(vendor, concept.key) for vendor in query})
    scene.images_of(scene.concepts)
    return scene


def _describe(scene: EmojiScene, concepts: list[Concept], most: dict[int, int]) -> None:
    scene.captions = captions_of(scene.concepts.values(), concepts, scene.split, scene.seed)
    for caption in scene.captions:
        scene.collection.add_document(EMOJI, scene.split, text=caption.text)
    asking = shuffled((c for c in scene.captions if c.asks), scene.seed, "ask", lambda c: c.text)
    for caption in asking[: most[0]]:
        scene.collection.add_query(0, scene.split, scene.images_of(caption.describes), text=caption.text)
    for path in _query_paths(scene, scene.concepts)[: most[3]]:
        scene.collection.add_query(3, scene.split, scene.captions_of(scene.gallery.shows(path)), image=path)


def _match_images(scene: EmojiScene, roles: dict[str, Roles], most: int) -> None:
    """Ask for another vendor's drawing; in evaluation the query's own picture is not in the pool."""
    matching = [k for k in scene.concepts if scene.split == "train" or not roles[k].mirrored]
    added = 0
    for path in _query_paths(scene, matching):
        own = scene.collection.add_document(EMOJI, scene.split, image=path) if scene.split == "train" else None
        positives = [did for did in scene.images_of(scene.gallery.shows(path)) if did != own]
        if positives and added < most:
            scene.collection.add_query(4, scene.split, positives, image=path)
            added += 1


def _edit(scene: EmojiScene, roles: dict[str, Roles], most: int) -> None:
    """Ask for a relative. In training only families that no evaluation split edits are edited."""
    concepts = [c for c in scene.concepts.values() if scene.split != "train" or not _evaluated(roles[c.key])]
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for edit in edits_between(concepts, scene.split, scene.seed):
        if _look_alike(scene, edit.source, edit.target):
            continue
        paths = scene.query_images[edit.source]
        images = paths if scene.split == "train" else [pick(paths, scene.seed, edit.source, edit.target)]
        for path in images:
            asked[path, sentence(edit.text)].add(edit.target)
    for path, text in shuffled(asked, scene.seed, "edits", " ".join)[:most]:
        positives = scene.images_of(asked[path, text])
        scene.collection.add_query(7, scene.split, positives, text=text, image=path)


def _evaluated(roles: Roles) -> bool:
    return any(split in roles.pool for split in EVALUATION)


def _look_alike(scene: EmojiScene, source: str, target: str) -> bool:
    shown = [*scene.query_images[source], *scene.pool_images[source]]
    return any(target in scene.gallery.shows(path) for path in shown)


def _query_paths(scene: EmojiScene, keys: Iterable[str]) -> list[str]:
    paths = {path for key in keys for path in scene.query_images[key]}
    return shuffled(paths, scene.seed, f"query images {scene.split}")
