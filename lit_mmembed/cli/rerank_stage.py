"""`mmembed rerank`. Heavy modules are imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.cli.rerank_arguments import PRECISIONS
from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from lit_mmembed.reranking.fusion import Fusion
    from lit_mmembed.reranking.scorer import Scorer

RUNS = {"global": "run.parquet", "local": "run_local.parquet"}


def rerank(flags: argparse.Namespace) -> None:
    """`mmembed rerank`."""
    _check(flags)
    from lit_mmembed.files import file_hash, write_json
    from lit_mmembed.progress import progress
    from lit_mmembed.reranking.asking import shortener
    from lit_mmembed.reranking.rerank import Settings, write_reranked
    from lit_mmembed.reranking.rerank import rerank as rerank_run

    fusion = _fusion(flags)
    scorer, tokenizer = _scorer(flags)
    shorten = shortener(tokenizer, flags.document_tokens) if tokenizer and flags.document_tokens else None
    run = flags.run / RUNS[flags.pool] if flags.run.is_dir() else flags.run
    settings = Settings(run, flags.data, flags.split, flags.k, flags.tokens, flags.document_tokens)
    with progress("rerank", unit="queries") as step:
        reranked = rerank_run(settings, scorer, flags.out, shorten=shorten, progress=step)
    chosen_in = file_hash(flags.fusion) if flags.fusion else None
    if flags.choose_weight:
        fusion, content = reranked.chosen()
        write_json(flags.choose_weight, content)
        chosen_in = file_hash(flags.choose_weight)
        print(f"weight {fusion.weight} of the {fusion.transform}: {flags.choose_weight}")
    write_reranked(flags.out, reranked, fusion, chosen_in)
    _say(reranked.record["reranking"])


def _check(flags: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, before anything heavy is imported."""
    if bool(flags.model) == flags.oracle:
        raise InputError("`mmembed rerank` needs --model or --oracle, one of them", fix="see `mmembed rerank --help`")
    given = [name for name in ("fusion_weight", "fusion", "choose_weight") if getattr(flags, name) is not None]
    if len(given) > 1:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{named} are two ways to set the weight", fix="give one of them")
    if flags.document_tokens is not None and flags.document_tokens < 1:
        raise InputError(f"--document-tokens {flags.document_tokens} leaves no text", fix="give at least 1")
    if flags.out.exists():
        raise InputError("exists already", file=flags.out, fix="name a new ranking, or remove this one first")


def _fusion(flags: argparse.Namespace) -> Fusion | None:
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.reranking.fusion import Fusion, read_fusion

    if flags.fusion_weight is not None:
        return Fusion(flags.fusion_weight, flags.fusion_transform)
    if flags.fusion:
        return read_fusion(flags.fusion, data_hash=DataDirectory(flags.data).hash, split=flags.split)
    return None


def _scorer(flags: argparse.Namespace) -> tuple[Scorer, Any]:
    """Return what answers, and its tokenizer."""
    if flags.oracle:
        from lit_mmembed.reranking.scorer import Oracle

        return Oracle(), None
    import torch

    from lit_mmembed.reranking.loading import load_reranker

    scorer = load_reranker(
        Path(flags.model) if Path(flags.model).is_dir() else flags.model,
        template=flags.template,
        dtype=PRECISIONS[flags.precision],  # type: ignore[arg-type]
        any_resolution=flags.any_resolution,
        max_tokens=flags.max_tokens,
        batch_tokens=flags.tokens,
        cache_bytes=flags.vision_cache * 1024**2,
    )
    answers = scorer.answers
    print(f"answers: {answers.pieces[0]!r} ({answers.true}) and {answers.pieces[1]!r} ({answers.false})")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return scorer.to(torch.device(automatic if flags.device == "auto" else flags.device)), scorer.tokenizer


def _say(found: dict[str, Any]) -> None:
    """Print what had to be done otherwise than asked."""
    print(f"{found['documents']:,} documents of {found['queries']:,} queries")
    if found["queries_with_fewer"]:
        print(f"{found['queries_with_fewer']:,} queries had fewer than {found['depth']} documents")
    if found["cut"]:
        print(f"{found['cut']:,} documents' texts were cut")
    for task, counts in found["fallbacks"].items():
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        if told:
            print(f"{task}: {told}")
