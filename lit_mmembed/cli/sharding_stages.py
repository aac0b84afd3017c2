"""The stage that makes data directories. Heavy modules are imported when it runs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lit_mmembed.cli.model_stages import require
from lit_mmembed.errors import InputError

FAILED = 1


def shard(flags: argparse.Namespace) -> int:
    """`mmembed shard`."""
    if flags.verify:
        return _verify(flags)
    require(flags, "source", "root", "out")
    from lit_mmembed.data.sharding import shard as shard_source

    out = shard_source(
        source=flags.source,
        root=flags.root,
        out=flags.out,
        on_bad_sample=flags.on_bad_sample,
        shard_bytes=flags.shard_bytes,
        **_options(flags),
    )
    manifest = json.loads((out / "manifest.json").read_text())
    for part, count in sorted(manifest["counts"].items()):
        print(f"{part:<20} {count:>9,}")
    if manifest["skipped"]:
        print(f"skipped {manifest['skipped']} damaged samples: {out / 'skipped.jsonl'}")
    return 0


def _verify(flags: argparse.Namespace) -> int:
    from lit_mmembed.data.verify import verify

    problems = verify(flags.verify)
    for problem in problems:
        print(problem)
    print(f"{flags.verify}: {len(problems)} problems" if problems else f"{flags.verify}: every byte is as written")
    return FAILED if problems else 0


def _options(flags: argparse.Namespace) -> dict[str, Any]:
    """The source's own options that were given."""
    columns, shares = _pairs(flags.columns, "--columns"), _pairs(flags.held_out, "--held-out")
    chosen: dict[str, Any] = {
        "tasks": flags.tasks,
        "task": flags.task,
        "splits": flags.splits,
        "val_pool": flags.val_pool,
        "size": flags.size,
        "name": flags.name,
        "dataset_id": flags.dataset_id,
        "instructions": flags.instruction,
        "columns": columns and {role: named.split(",") for role, named in columns.items()},
        "corpus": flags.corpus,
        "query_text": flags.query_text,
        "held_out": shares and {split: _share(split, share) for split, share in shares.items()},
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _pairs(given: list[str] | None, flag: str) -> dict[str, str] | None:
    if given is None:
        return None
    pairs = [pair.partition("=") for pair in given]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise InputError(f"{flag} {name}{equals}{value} is no NAME=VALUE", fix="write NAME=VALUE without blanks")
    return {name: value for name, _, value in pairs}


def _share(split: str, share: str) -> float:
    try:
        return float(share)
    except ValueError:
        raise InputError(f"--held-out {split}={share} is no share", fix="write a number, e.g. val=0.05") from None
