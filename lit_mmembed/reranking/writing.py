"""What a reranking leaves: the ranking and the answers beside it, or the answers of a part."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lit_mmembed.reranking.fusion import Fusion
from lit_mmembed.reranking.reordering import answers_metadata, answers_path, write_answers
from lit_mmembed.reranking.rerank import Reranked
from lit_mmembed.retrieval.ranking import write_ranking


def write_reranked(out: Path, reranked: Reranked, fusion: Fusion | None, chosen_in: str | None = None) -> None:
    """Write OUT, the answers beside it, and remove the partial file."""
    about = {**reranked.record["reranking"], "fusion": fusion_record(fusion, chosen_in)}
    record = {**reranked.record, "reranking": about}
    write_answers(answers_path(out), reranked.retrieved, reranked.answers, record)
    write_ranking(out, reranked.ranking(fusion), record=record, trec=out.suffix == ".trec")
    if reranked.journal:
        reranked.journal.remove()


def write_part(out: Path, reranked: Reranked) -> None:
    """Write the answers of a part, which is no ranking yet, and remove the partial file."""
    write_answers(answers_path(out), reranked.retrieved, reranked.answers, reranked.record)
    if reranked.journal:
        reranked.journal.remove()


def part_out(out: Path, part: tuple[int, int] | None) -> Path:
    """Return the name that a part's files are made of: OUT.part2-of-8 in the place of OUT."""
    return out if part is None else out.with_name(f"{out.stem}.part{part[0]}-of-{part[1]}{out.suffix}")


def fusion_record(fusion: Fusion | None, chosen_in: str | None) -> dict[str, Any] | None:
    """Return what a run record keeps of the weight: where it was chosen, its file's hash."""
    return {**asdict(fusion), "file_hash": chosen_in} if fusion else None


def is_made_of(out: Path, what: dict[str, Any], fusion: dict[str, Any] | None) -> bool:
    """Return whether a ranking was made of these settings, this model and this weight, as its answers say.

    Args:
        out: The ranking.
        what: `settings_record` with the scorer's record, or `again.answers_record`.
        fusion: `fusion_record`, or as much of it as is known; None for P(True) alone.
    """
    path = answers_path(out)
    found = answers_metadata(path).get("reranking", {}) if path.exists() else {}
    wanted = json.loads(json.dumps(what, default=str))
    weight = found.get("fusion")
    same_weight = weight is None if fusion is None else weight is not None and fusion.items() <= weight.items()
    return same_weight and all(found.get(name) == value for name, value in wanted.items())
