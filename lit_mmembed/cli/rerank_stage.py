"""`mmembed rerank`. Heavy modules are imported when it runs."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.cli.rerank_arguments import PRECISIONS
from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from lit_mmembed.reranking.asking import Asking, Shorten
    from lit_mmembed.reranking.fusion import Fusion
    from lit_mmembed.reranking.rerank import Reranked, Settings
    from lit_mmembed.reranking.scorer import Scorer

RUNS = {"global": "run.parquet", "local": "run_local.parquet"}


def rerank(flags: argparse.Namespace) -> None:
    """`mmembed rerank`."""
    _check(flags)
    from lit_mmembed.cli.rerank_parts import answered_in_parts, end_with_parent, removed
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.files import file_hash
    from lit_mmembed.reranking.again import answers_record, rerank_again
    from lit_mmembed.reranking.asking import shortener
    from lit_mmembed.reranking.rerank import settings_record
    from lit_mmembed.reranking.writing import part_out, write_part

    end_with_parent()
    fusion, chosen_in = _fusion(flags), file_hash(flags.fusion) if flags.fusion else None
    settings = _settings(flags)
    what = settings_record(settings, DataDirectory(flags.data))
    out = part_out(flags.out, settings.part)
    devices = _devices(flags, settings)
    scorer: Scorer | None = None
    if flags.answers:
        what = answers_record(what, flags.answers)
    elif devices == 1 or out.exists():
        scorer, tokenizer = _scorer(flags)
        what = {**what, **scorer.record()}
    if _is_made_before(flags, out, what, fusion, chosen_in):
        print(f"{out}: made before")
        return
    if flags.choose_weight:
        _check_labels(settings)
    if flags.answers:
        _write(flags, rerank_again(settings, flags.answers), fusion, chosen_in)
    elif devices > 1:
        parts = answered_in_parts(flags, settings.run, devices)
        _write(flags, _whole(rerank_again(settings, parts), devices), fusion, chosen_in)
        removed(parts)
    else:
        assert scorer is not None
        shorten = shortener(tokenizer, flags.document_tokens) if tokenizer and flags.document_tokens else None
        reranked = _asked(settings, scorer, out, shorten)
        if settings.part:
            write_part(out, reranked)
            return
        _write(flags, reranked, fusion, chosen_in)


def _settings(flags: argparse.Namespace) -> Settings:
    from lit_mmembed.reranking.rerank import Settings

    return Settings(
        _ranking(flags.run, flags.pool),
        flags.data,
        flags.split,
        depth=flags.k,
        batch_tokens=flags.tokens,
        document_tokens=flags.document_tokens,
        tasks=tuple(flags.tasks) if flags.tasks else None,
        part=_part(flags.part),
    )


def _ranking(run: Path, pool: str) -> Path:
    """Return the ranking that --run and --pool name.

    Raises:
        InputError: there is none.
    """
    if not run.is_dir():
        if not run.exists():
            fix = "name a Parquet ranking, a TREC run or a folder of `mmembed evaluate`"
            raise InputError("does not exist", file=run, fix=fix)
        return run
    found = [name for name, file in RUNS.items() if (run / file).exists()]
    if pool not in found:
        fix = f"--pool {found[0]}" if found else "name a folder of `mmembed evaluate`"
        raise InputError(f"holds no {RUNS[pool]}", file=run, fix=fix)
    return run / RUNS[pool]


def _part(given: str | None) -> tuple[int, int] | None:
    """Read "2/8"."""
    if given is None:
        return None
    number, slash, parts = given.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"--part {given} is no part", fix="I/N with I from 1 to N, as in --part 2/8")
    return int(number), int(parts)


def _devices(flags: argparse.Namespace, settings: Settings) -> int:
    """Return how many processes answer: no more than there are queries to ask about."""
    from lit_mmembed.cli.rerank_parts import devices_of

    devices = 1 if flags.answers or settings.part else devices_of(flags)
    return devices if devices == 1 else min(devices, len(_questions(settings).asked))


def _check_labels(settings: Settings) -> None:
    """Raise where no weight can be chosen, before a model is asked."""
    from lit_mmembed.reranking.fusion import no_labels

    asking = _questions(settings)
    if not any(asking.relevant(place).any() for place in asking.asked):
        raise no_labels(settings.run)


def _questions(settings: Settings) -> Asking:
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.reranking.rerank import asking_about
    from lit_mmembed.retrieval.ranking import read_ranking

    return asking_about(settings, read_ranking(settings.run), DataDirectory(settings.data))


def _whole(reranked: Reranked, devices: int) -> Reranked:
    """Return it as one process would have made it: the parts are not kept."""
    about = {name: value for name, value in reranked.record["reranking"].items() if name != "answers_hash"}
    return replace(reranked, record={**reranked.record, "reranking": {**about, "devices": devices}})


def _write(flags: argparse.Namespace, reranked: Reranked, fusion: Fusion | None, chosen_in: str | None) -> None:
    """Choose the weight, where that is asked for, and write the ranking."""
    from lit_mmembed.files import file_hash, write_json
    from lit_mmembed.reranking.writing import write_reranked

    if flags.choose_weight:
        fusion, content = reranked.chosen()
        write_json(flags.choose_weight, content)
        chosen_in = file_hash(flags.choose_weight)
        print(f"weight {fusion.weight} of the {fusion.transform}: {flags.choose_weight}")
    write_reranked(flags.out, reranked, fusion, chosen_in)
    _say(reranked.record["reranking"])


def _asked(settings: Settings, scorer: Scorer, out: Path, shorten: Shorten | None) -> Reranked:
    from lit_mmembed.progress import progress
    from lit_mmembed.reranking.rerank import rerank as rerank_run

    with progress("rerank", unit="queries") as step:
        return rerank_run(settings, scorer, out, shorten=shorten, progress=step)


def _is_made_before(
    flags: argparse.Namespace, out: Path, what: dict[str, Any], fusion: Fusion | None, chosen_in: str | None
) -> bool:
    """Whether OUT is what would be made: a killed recipe may have ended behind it; another OUT is refused."""
    from lit_mmembed.files import PARTIAL, file_hash
    from lit_mmembed.reranking.reordering import answers_path
    from lit_mmembed.reranking.writing import fusion_record, is_made_of

    made = answers_path(out) if flags.part else out
    if not made.exists():
        return False
    weight = fusion_record(fusion, chosen_in)
    if flags.choose_weight:
        weight = {"file_hash": file_hash(flags.choose_weight) if flags.choose_weight.exists() else ""}
    if not is_made_of(out, what, weight):
        raise InputError("exists already", file=made, fix="name a new ranking, or remove this one first")
    out.with_name(f"{out.name}{PARTIAL}").unlink(missing_ok=True)
    return True


def _check(flags: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, before anything heavy is imported."""
    if sum(map(bool, (flags.model, flags.oracle, flags.answers))) != 1:
        fix = "see `mmembed rerank --help`"
        raise InputError("`mmembed rerank` needs --model, --oracle or --answers, one of them", fix=fix)
    given = [name for name in ("fusion_weight", "fusion", "choose_weight") if getattr(flags, name) is not None]
    if flags.part and (flags.answers or given):
        raise InputError("--part has answers of a part alone", fix="join all parts with --answers, and fuse there")
    if len(given) > 1:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{named} are two ways to set the weight", fix="give one of them")
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
