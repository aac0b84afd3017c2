"""Stages that move bytes and need no GPU: shard, convert, merge, and those that leave little."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.cli.planning.context import Context, NotPlanned, Source, converted
from lit_mmembed.cli.resolving import Stage
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.training import plan_disk
from lit_mmembed.training.plan_work import Work, downloaded
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.training.published import (
    CIRCO_IMAGES,
    CIRCO_NEED,
    CIRCO_QUERIES,
    MBEIR_ARCHIVE,
    MBEIR_NEED,
    MBEIR_QUERIES,
    UNIIR_NEED,
)
from lit_mmembed.training.splits import Split, mbeir_split
from lit_mmembed.types import Modality

PARTS = ("queries", "candidates")


def shard(stage: Stage, context: Context) -> Work:
    """Shards hold every row's image; they do not refer to the archive."""
    given = stage.arguments
    if given.get("source") == "circo":
        return _circo(stage)
    source = context.source(f"{given.get('out')}")
    if source.path is not None:
        size = _directory_bytes(source)
        return Work(disk={"shards": size}, assumptions=(f"as large as {source.path}",))
    splits = [source.of_mbeir(name) for name in source.splits or MBEIR_QUERIES]
    samples, images = (sum(count(split) for split in splits) for count in (_samples, _images))
    whole = sum(_images(mbeir_split(name)) for name in MBEIR_QUERIES)
    mean = MBEIR_ARCHIVE / whole
    assumed = (
        f"shards: one image has {mean / 1000:.0f} kB, the archive over the {whole / 1e6:.2f} million rows with one; "
        "those that several rows share are in the archive once and in the shards as often, which may make them larger"
    )
    size = plan_disk.shard_sets(samples, images, mean)
    return Work(disk={"shards": size}, needs=(MBEIR_NEED,), counts={"samples": samples}, assumptions=(assumed,))


def convert(stage: Stage, context: Context) -> Work:
    """A model folder with all weights."""
    encoder = planned_encoder(converted(stage.arguments))
    size = plan_disk.whole_weights(encoder)
    weights = float(sum(part.parameters for part in encoder.parts.values()))
    names = [name for key in ("mm_embed", "nv_embed", "llava") if (name := stage.arguments.get(key))]
    needs = tuple(downloaded(str(name), weights) for name in names[:1] if not Path(str(name)).exists())
    return Work(disk={"model": size}, needs=(UNIIR_NEED,) if stage.arguments.get("uniir") else needs)


def merge(stage: Stage, context: Context) -> Work:
    """The same weights, adapters merged in."""
    encoder = context.encoder(stage.arguments["model"])
    sizes = {name: part.parameters * encoder.stored_bytes(name) for name, part in encoder.parts.items()}
    return Work(disk={"model": sum(size for name, size in sizes.items() if name != "adapters")})


def little(stage: Stage, context: Context) -> Work:
    """Nothing that counts: a page, a table."""
    return Work()


def unknown(stage: Stage, context: Context) -> Work:
    """What this command needs is not counted."""
    raise NotPlanned(f"what `mmembed {stage.command}` needs is not counted")


def _circo(stage: Stage) -> Work:
    """Each split holds the whole gallery."""
    splits = stage.arguments.get("splits") or list(CIRCO_QUERIES)
    pictures = len(splits) * CIRCO_IMAGES
    size = plan_disk.shard_sets(pictures, pictures, CIRCO_NEED.size / CIRCO_IMAGES)
    return Work(disk={"shards": size}, needs=(CIRCO_NEED,), counts={"samples": pictures})


def _directory_bytes(source: Source) -> float:
    assert source.path is not None
    parts = DataDirectory(source.path).manifest["parts"]
    files = (file for part in parts for file in (source.path / part).rglob("*") if file.is_file())
    return float(sum(file.stat().st_size for file in files))


def _samples(split: Split) -> float:
    return split.queries + split.documents


def _images(split: Split) -> float:
    asked = sum(one.queries for one in split.asked if one.task.query_modality is not Modality.TEXT)
    return asked + sum(kind.count for kind in split.pool if kind.modality is not Modality.TEXT)
