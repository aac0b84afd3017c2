"""Builds the benchmark from its packages: read, choose, draw, divide, ask, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.concepts import Concept, choose_concepts, flag_concept, read_concepts
from lit_mmembed.data.sources.emoji_beir.countries import read_countries
from lit_mmembed.data.sources.emoji_beir.drawings import EMOJI_VENDORS, FLAG_VENDORS, Drawings
from lit_mmembed.data.sources.emoji_beir.draws import shuffled
from lit_mmembed.data.sources.emoji_beir.fetch import check_python_packages
from lit_mmembed.data.sources.emoji_beir.gallery import Gallery
from lit_mmembed.data.sources.emoji_beir.layout import write_layout
from lit_mmembed.data.sources.emoji_beir.origins import write_licences, write_origins
from lit_mmembed.data.sources.emoji_beir.queries_atlas import add_atlas_queries
from lit_mmembed.data.sources.emoji_beir.queries_emoji import add_emoji_queries
from lit_mmembed.data.sources.emoji_beir.records import Collection
from lit_mmembed.data.sources.emoji_beir.splits import assign_roles
from lit_mmembed.data.sources.emoji_beir.tarball import write_image_parts
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder

ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is taken; the caps are queries per M-BEIR task number."""

    objects: int
    """Concepts without skin tones."""
    families: int
    """People, each in up to 2 genders and 3 skin tones."""
    countries: int
    most: dict[str, dict[int, int]]
    """Split to task to number of queries at most."""


def _most(train: list[int], val: int, test: int) -> dict[str, dict[int, int]]:
    tasks = (0, 1, 2, 3, 4, 6, 7, 8)
    return {
        "train": dict(zip(tasks, train, strict=True)),
        "val": dict.fromkeys(tasks, val),
        "test": dict.fromkeys(tasks, test),
    }


SIZES = {
    "smoke": Size(120, 24, 40, _most([400] * 8, 60, 100)),
    "small": Size(550, 95, ALL, _most([1800, 1100, 1100, 1500, 1500, 1100, 1500, 1000], 250, 400)),
    "full": Size(ALL, ALL, ALL, _most([ALL] * 8, ALL, ALL)),
}


def build_emoji_beir(packages: str | Path, out: str | Path, *, size: str = "small", seed: int = 0) -> Collection:
    """Write EmojiBEIR in M-BEIR's layout to a new folder; the same packages, size and seed give the same bytes.

    Args:
        packages: the folder that `fetch_packages` filled.
        out: the folder to make.
        size: "smoke" (seconds to train on), "small" (what ships) or "full".
        seed: what is chosen and held out.
    """
    if size not in SIZES:
        raise InputError(f"size {size!r} is unknown", fix=f"one of {', '.join(SIZES)}")
    check_python_packages()
    with atomic_folder(out) as folder:
        collection, gallery = collect(packages, SIZES[size], seed)
        pictures = gallery.pictures(_used_images(collection))
        write_layout(collection, folder)
        write_image_parts(pictures, folder)
        write_origins(pictures, folder)
        write_licences(packages, folder)
    return collection


def collect(packages: str | Path, size: Size, seed: int) -> tuple[Collection, Gallery]:
    """Make all queries and documents in memory, with the gallery that drew them."""
    drawings = Drawings(packages)
    gallery = Gallery(drawings)
    concepts = choose_concepts(read_concepts(packages, drawings), seed, objects=size.objects, families=size.families)
    countries = shuffled(read_countries(drawings), seed, "countries", lambda c: c.letters)[: size.countries]
    concepts += [flag_concept(country.letters, country.name) for country in countries]
    _draw_all(concepts, gallery)
    roles = assign_roles(concepts, gallery, seed)
    collection = Collection()
    add_emoji_queries(collection, concepts, roles, gallery, seed=seed, most=size.most)
    add_atlas_queries(collection, countries, roles, gallery, seed=seed, most=size.most)
    return collection, gallery


def _draw_all(concepts: list[Concept], gallery: Gallery) -> None:
    for concept in concepts:
        for vendor in FLAG_VENDORS if concept.is_flag else EMOJI_VENDORS:
            gallery.draw(vendor, concept.key)


def _used_images(collection: Collection) -> set[str]:
    asked = {query.image for query in collection.queries}
    shown = {document.image for document in collection.documents.values()}
    return {path for path in asked | shown if path}
