"""From a source to a data directory: what `mmembed shard` does."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lit_mmembed.data.shards import SHARD_BYTES
from lit_mmembed.errors import InputError
from lit_mmembed.progress import progress

if TYPE_CHECKING:
    from lit_mmembed.data.sources.base import Source

TEXT_FORMS = ("tevatron", "triplets", "nli", "pairs")
COMPOSED = ("circo", "cirr", "fashioniq")
SOURCES = ("mbeir", "parquet", "beir", "jsonl", "emoji_beir", "texts", *TEXT_FORMS, *COMPOSED)

log = logging.getLogger(__name__)


def shard(
    *,
    source: str,
    root: str | Path,
    out: str | Path,
    on_bad_sample: Literal["raise", "skip"] = "raise",
    shard_bytes: int = SHARD_BYTES,
    **options: Any,
) -> Path:
    """Turn a source into a data directory (docs/design.md shows its files).

    Args:
        source: One of SOURCES: `mbeir` (M-BEIR's published layout), `parquet` (a per-task mirror of it), `beir` (a BEIR
            folder), `jsonl` (docs/data.md: anybody's texts and images), `emoji_beir` (built from downloaded packages),
            `tevatron`, `triplets`, `nli`, `pairs` (one set of texts), `texts` (several, as a `texts.yaml` lists them),
            `circo`, `cirr`, `fashioniq` (docs/composed.md).
        root: The folder that the source reads; a set of texts may be a file.
        out: The data directory to make; it must not exist.
        on_bad_sample: `raise`, or `skip`: go on without damaged samples and list them in `skipped.jsonl`.
        shard_bytes: A new shard begins where the old one would grow beyond this.
        options: The source's own, e.g. `tasks` of `mbeir` or `task` of `parquet`.
    """
    if source not in _OPENERS:
        raise InputError(f"source {source!r} is unknown", fix=f"use one of {', '.join(SOURCES)}")
    root, out = Path(root), Path(out)
    if not root.is_dir() and not (root.is_file() and source in ("texts", *TEXT_FORMS)):
        raise InputError("is not a folder", file=root, fix="give the folder that holds the source's files")
    if source == "emoji_beir":
        return _shard_emoji_beir(root, out, options, on_bad_sample=on_bad_sample, shard_bytes=shard_bytes)
    opened = _open(source, root, options)
    return write_source(opened, out, kind=source, on_bad_sample=on_bad_sample, shard_bytes=shard_bytes)


def write_source(
    source: Source,
    out: Path,
    *,
    kind: str,
    on_bad_sample: Literal["raise", "skip"] = "raise",
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write any source as a data directory; `kind` names it in the manifest."""
    from lit_mmembed.data.building import write_directory

    with progress("shard", unit="samples") as step:
        write_directory(
            out,
            _counted(source.items(), step),
            name=source.name,
            source=kind,
            tasks=source.tasks,
            qrels=source.qrels(),
            instructions_tsv=source.instructions_path,
            pools=source.pools(),
            repeats=source.repeats(),
            licences=source.licences(),
            on_bad_sample=on_bad_sample,
            shard_bytes=shard_bytes,
        )
    _compare_with_published(out)
    return out


def _counted(items: Iterable[Any], step: Callable[..., None]) -> Iterator[Any]:
    for item in items:
        yield item
        step(1)


def _mbeir(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.mbeir import MBeirSource

    return MBeirSource(root, **options)


def _parquet(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.parquet import ParquetSource

    return ParquetSource(root, **options)


def _beir(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.beir import BeirSource

    return BeirSource(root, **options)


def _jsonl(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.jsonl import JsonlSource

    return JsonlSource(root, **options)


def _texts(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.texts.listing import TextListing

    return TextListing(root, **options)


def _text_set(form: str) -> Callable[[Path, dict[str, Any]], Source]:
    def opened(root: Path, options: dict[str, Any]) -> Source:
        from lit_mmembed.data.sources.texts.source import TextSource

        return TextSource(root, form=form, **options)

    return opened


def _circo(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.circo import CircoSource

    return CircoSource(root, **options)


def _cirr(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.cirr import CirrSource

    return CirrSource(root, **options)


def _fashioniq(root: Path, options: dict[str, Any]) -> Source:
    from lit_mmembed.data.sources.fashioniq import FashionIqSource

    return FashionIqSource(root, **options)


_OPENERS: dict[str, Callable[[Path, dict[str, Any]], Source]] = {
    "mbeir": _mbeir,
    "parquet": _parquet,
    "beir": _beir,
    "jsonl": _jsonl,
    "emoji_beir": _mbeir,
    "texts": _texts,
    **{form: _text_set(form) for form in TEXT_FORMS},
    "circo": _circo,
    "cirr": _cirr,
    "fashioniq": _fashioniq,
}


def _open(source: str, root: Path, options: dict[str, Any]) -> Source:
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return _OPENERS[source](root, given)
    except TypeError as wrong:
        if "argument" not in str(wrong):
            raise
        raise InputError(f"source {source!r}: {wrong}", fix="`mmembed shard --help` lists the options") from None


def _shard_emoji_beir(packages: Path, out: Path, options: dict[str, Any], **writing: Any) -> Path:
    from lit_mmembed.data.sources.emoji_beir import build_emoji_beir

    if out.exists():
        raise InputError("exists already", file=out, fix="name a new folder, or remove this one first")
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f"{out.name}.") as folder:
        built = Path(folder) / "emoji_beir"
        build_emoji_beir(packages=packages, out=built, **options)
        return write_source(_open("mbeir", built, {}), out, kind="emoji_beir", **writing)


def _compare_with_published(out: Path) -> None:
    """Warn when M-BEIR's test split has other sizes than the published one."""
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.data.tasks import MBEIR_TASKS, PUBLISHED_COUNTS

    directory = DataDirectory(out)
    if "test" not in directory.splits or not set(directory.tasks) <= set(MBEIR_TASKS):
        return
    codes, pools = directory.queries("test").task, directory.pools("test")
    differ = []
    for place, task in enumerate(directory.tasks):
        published = PUBLISHED_COUNTS[task.name]
        found = int((codes == place).sum()), len(pools[task.name])
        if found[0] and found != (published.queries, published.pool):
            differ.append(f"{task.name} {found[0]:,} queries, {found[1]:,} documents")
            differ[-1] += f" (published {published.queries:,}, {published.pool:,})"
    if differ:
        log.warning("%s: the test split is not the published M-BEIR: %s", out, "; ".join(differ))
