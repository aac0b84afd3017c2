"""`mmembed rerank`. Heavy modules are imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.cli.rerank_arguments import PRECISIONS
from lit_mmembed.cli.rerank_workers import ask_in_parts, devices_of, end_with_parent, report_to_parent
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.parts import every_part, part_path

if TYPE_CHECKING:
    from lit_mmembed.reranking.fusion import Fusion
    from lit_mmembed.reranking.rerank import Reranked, Settings
    from lit_mmembed.reranking.scorer import Scorer

RUNS = {"global": "run.parquet", "local": "run_local.parquet"}


def rerank(flags: argparse.Namespace) -> None:
    """`mmembed rerank`."""
    _check(flags)
    devices = devices_of(flags)
    if flags.worker:
        end_with_parent()
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.files import file_hash, write_json
    from lit_mmembed.reranking.again import answers_record, rerank_again
    from lit_mmembed.reranking.rerank import made_path, settings_record, write_part, write_reranked

    fusion, chosen_in = _fusion(flags), file_hash(flags.fusion) if flags.fusion else None
    settings, scorer, tokenizer = _settings(flags), None, None
    what = settings_record(settings, DataDirectory(flags.data))
    if flags.answers:
        what = answers_record(what, flags.answers)
    elif len(devices) == 1 or made_path(flags.out, flags.part).exists():  # workers load it themselves
        scorer, tokenizer = _scorer(flags)
        what = {**what, **scorer.record()}
    if _is_made_before(flags, what, fusion, chosen_in):
        print(f"{made_path(flags.out, flags.part)}: made before")
        return
    if flags.answers:
        reranked = rerank_again(settings, flags.answers)
    elif scorer is None:
        reranked = _asked_in_parts(settings, flags, devices)
    else:
        reranked = _asked(settings, scorer, tokenizer, flags)
    if flags.part:
        write_part(flags.out, reranked, flags.part)
        _say_of_part(flags, reranked.record["reranking"])
        return
    if flags.choose_weight:
        fusion, content = reranked.chosen()
        write_json(flags.choose_weight, content)
        chosen_in = file_hash(flags.choose_weight)
        print(f"weight {fusion.weight} of the {fusion.transform}: {flags.choose_weight}")
    write_reranked(flags.out, reranked, fusion, chosen_in)
    for path in _of_parts(flags.out, len(devices)):
        path.unlink(missing_ok=True)
    _say(reranked.record["reranking"])


def _settings(flags: argparse.Namespace) -> Settings:
    from lit_mmembed.reranking.rerank import Settings

    return Settings(
        flags.run / RUNS[flags.pool] if flags.run.is_dir() else flags.run,
        flags.data,
        flags.split,
        depth=flags.k,
        batch_tokens=flags.tokens,
        document_tokens=flags.document_tokens,
        tasks=tuple(flags.tasks) if flags.tasks else None,
        part=flags.part,
    )


def _asked(settings: Settings, scorer: Scorer, tokenizer: Any, flags: argparse.Namespace) -> Reranked:
    """Ask in this process."""
    from lit_mmembed.progress import progress
    from lit_mmembed.reranking.asking import shortener
    from lit_mmembed.reranking.rerank import rerank as rerank_run

    shorten = shortener(tokenizer, flags.document_tokens) if tokenizer and flags.document_tokens else None
    if flags.worker:
        return rerank_run(settings, scorer, flags.out, shorten=shorten, progress=report_to_parent)
    with progress("rerank", unit="queries") as step:
        return rerank_run(settings, scorer, flags.out, shorten=shorten, progress=step)


def _asked_in_parts(settings: Settings, flags: argparse.Namespace, devices: Sequence[str]) -> Reranked:
    """Ask in a process for each device; join what they have answered."""
    from lit_mmembed.reranking.again import joined

    ask_in_parts(flags, devices)
    return joined(settings, _of_parts(flags.out, len(devices)))


def _of_parts(out: Path, count: int) -> list[Path]:
    """Return where the answers of the parts lie; of one process there are none."""
    from lit_mmembed.reranking.rerank import made_path

    return [made_path(out, part) for part in every_part(count)] if count > 1 else []


def _is_made_before(
    flags: argparse.Namespace, what: dict[str, Any], fusion: Fusion | None, chosen_in: str | None
) -> bool:
    """Whether OUT is what would be made: a killed recipe may have ended behind it; another OUT is refused."""
    from lit_mmembed.files import PARTIAL, file_hash
    from lit_mmembed.reranking.rerank import fusion_record, is_made_of, made_path

    made = made_path(flags.out, flags.part)
    if not made.exists():
        return False
    weight = fusion_record(fusion, chosen_in)
    if flags.choose_weight:
        weight = {"file_hash": file_hash(flags.choose_weight) if flags.choose_weight.exists() else ""}
    if not is_made_of(made, what, weight):
        if flags.worker:  # as a journal of something else is begun anew
            made.unlink()
            return False
        raise InputError("exists already", file=made, fix="name a new ranking, or remove this one first")
    partial = part_path(flags.out, flags.part)
    partial.with_name(f"{partial.name}{PARTIAL}").unlink(missing_ok=True)
    return True


def _check(flags: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, before anything heavy is imported."""
    if sum(map(bool, (flags.model, flags.oracle, flags.answers))) != 1:
        fix = "see `mmembed rerank --help`"
        raise InputError("`mmembed rerank` needs --model, --oracle or --answers, one of them", fix=fix)
    given = [name for name in ("fusion_weight", "fusion", "choose_weight") if getattr(flags, name) is not None]
    if len(given) > 1:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{named} are two ways to set the weight", fix="give one of them")
    if flags.part and (flags.answers or given):
        other = "--answers" if flags.answers else f"--{given[0].replace('_', '-')}"
        raise InputError(f"--part makes no ranking, {other} does", fix="join the parts with --answers A1 A2 ...")
    if flags.document_tokens is not None and flags.document_tokens < 1:
        raise InputError(f"--document-tokens {flags.document_tokens} leaves no text", fix="give at least 1")


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


def _say_of_part(flags: argparse.Namespace, found: dict[str, Any]) -> None:
    if not flags.worker:
        print(f"{flags.part.words}: {found['documents']:,} documents of {found['queries']:,} queries")


def _say(found: dict[str, Any]) -> None:
    """Print what had to be done otherwise than asked."""
    print(f"{found['documents']:,} documents of {found['queries']:,} queries")
    if found.get("queries_left"):
        print(f"{found['queries_left']:,} queries of other tasks were left as they are")
    if found["queries_with_fewer"]:
        print(f"{found['queries_with_fewer']:,} queries had fewer than {found['depth']} documents")
    if found["cut"]:
        print(f"{found['cut']:,} documents' texts were cut")
    for task, counts in found["fallbacks"].items():
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        if told:
            print(f"{task}: {told}")
