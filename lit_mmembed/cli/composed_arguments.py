"""Flags of `mmembed evaluate` for CIRCO, CIRR and FashionIQ, and for known values. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path


def protocol_flags(stage: argparse.ArgumentParser) -> None:
    """--protocol and what belongs to it."""
    group = stage.add_argument_group("composed image retrieval", "with --data, --out and --model, --stores or --run")
    protocol = "score by the data set's own protocol, with and without the reference picture: docs/composed.md"
    group.add_argument("--protocol", choices=("circo", "cirr", "fashioniq"), help=protocol)
    submission = "also write the file that the data set's server takes (.json; fashioniq: .zip)"
    group.add_argument("--submission", type=Path, metavar="FILE", help=submission)
    reference = "with --submission: whether the reference picture may stand in it (default: circo and fashioniq keep)"
    group.add_argument("--reference", choices=("keep", "drop"), help=reference)
    subset = "cirr with --run: a ranking of each query's subset, for R_subset (of a model it is made)"
    group.add_argument("--subset-run", type=Path, metavar="FILE", help=subset)


def expectation_flags(stage: argparse.ArgumentParser) -> None:
    """--expect and --scores."""
    group = stage.add_argument_group("known values")
    expect = "check the scores against known values: clip_sf_l, blip_ff_l, or a YAML (docs/composed.md); exit status 1"
    group.add_argument("--expect", metavar="NAME_OR_FILE", help=f"{expect} where one is off")
    scores = "with --expect: scores.jsonl files that are there, in place of evaluating"
    group.add_argument("--scores", type=Path, nargs="+", metavar="FILE", help=scores)
