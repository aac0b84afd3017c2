"""Small CIRCO, CIRR and FashionIQ as shards, rankings of them, and the protocols as a loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from tests.data.sources import composed_folders
from tests.tiny import done

BUILD = {
    "circo": composed_folders.build_circo,
    "cirr": composed_folders.build_cirr,
    "fashioniq": composed_folders.build_fashioniq,
}
Rankings = Mapping[str, Sequence[str]]


def shard(protocol: str, folder: Path) -> Path:
    """The data directory of a small world of this protocol."""
    root = BUILD[protocol](folder / protocol)
    done("shard", "--source", protocol, "--root", root, "--out", folder / "data")
    return folder / "data"


def write_run(path: Path, rankings: Rankings) -> Path:
    """A ranking as Parquet from query -> documents, best first."""
    pairs = [(qid, did, -rank) for qid, dids in rankings.items() for rank, did in enumerate(dids)]
    qids, dids, scores = zip(*pairs, strict=True)
    write_ranking(path, from_pairs(list(qids), list(dids), list(scores)))
    return path


def shuffled(data: Path, split: str = "val", seed: int = 0) -> dict[str, list[str]]:
    """The whole gallery of every query's task, in an order drawn for each."""
    directory, generator = DataDirectory(data), np.random.default_rng(seed)
    ids, pools = directory.candidates(split).ids, directory.pools(split)
    return {
        sample.id: [str(ids[row]) for row in generator.permutation(pools[str(sample.task)])]
        for sample in directory.queries(split)
    }


def about(data: Path, split: str = "val") -> dict[str, dict]:
    """What each query carries, and its positives."""
    return {
        sample.id: {**json.loads(sample.source or ""), "positives": sample.positives, "task": sample.task}
        for sample in DataDirectory(data).queries(split)
    }


def found(path: Path) -> dict[tuple[str, str, str, int], float]:
    """(task, pool, metric, k) -> value of a result file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {(row["task"], row["pool"], row["metric"], row["k"]): row["value"] for row in rows}


def without_reference(rankings: Rankings, queries: Mapping[str, dict]) -> dict[str, list[str]]:
    """The rankings without each query's own picture."""
    return {qid: [did for did in dids if did != queries[qid]["reference"]] for qid, dids in rankings.items()}


def recall(rankings: Rankings, queries: Mapping[str, dict], k: int) -> float:
    """The share of queries whose target is among the best k."""
    return float(np.mean([queries[qid]["target"] in dids[:k] for qid, dids in rankings.items()]))
