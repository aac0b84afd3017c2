"""Stages of LightningCLI: training, mining behind it, embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_mmembed.cli.planning.configs import Config, fit_of
from lit_mmembed.cli.planning.context import Context, NotPlanned, Source
from lit_mmembed.cli.resolving import Stage
from lit_mmembed.training import plan_disk
from lit_mmembed.training.plan import run_time, step_flops
from lit_mmembed.training.plan_reranking import answerer, learning_flops, question, trained_weights
from lit_mmembed.training.plan_summary import fit_summary, predict_summary
from lit_mmembed.training.plan_work import Span, Work, computing, downloaded, embedding, searching
from lit_mmembed.training.planned_encoder import FULL
from lit_mmembed.training.planned_fit import Fit
from lit_mmembed.training.published import Need
from lit_mmembed.types import Side

LOGGED = 400
"""Bytes of a logged step in `log.jsonl` and `log.csv` together."""
SPLITS = {"queries": Side.QUERY, "candidates": Side.CANDIDATE}


def fit(stage: Stage, context: Context) -> Work:
    """Training; mining behind it; the model folder, the resume point, the log."""
    config = context.config(stage)
    source = _source(config, context)
    planned = fit_of(config, context.flags, source.path, source.tasks, there=context.there)
    summary = fit_summary(planned)
    steps = run_time(planned)["steps"]
    time = {"training": computing(step_flops(planned)["executed"] * steps, planned.machine, planned.precision)}
    every = int((config.get("trainer") or {}).get("log_every_n_steps") or 50)
    disk = {
        "model": plan_disk.own_weights(planned.encoder) + plan_disk.SMALL,
        "resume.ckpt": plan_disk.resume_point(planned.encoder, planned.settings.strategy) if steps else 0.0,
        "log": steps / every * LOGGED + plan_disk.SMALL,
    }
    scratch = 0.0
    if mining := _mining(config):
        more, disk["negatives.parquet"], scratch = _mined(planned, source, mining, config)
        time |= more
    return Work(
        {name: span for name, span in time.items() if span.flops},
        {name: size for name, size in disk.items() if size},
        scratch,
        needs=checkpoints(config["model"]["encoder"], planned),
        counts={"steps": steps},
        assumptions=tuple(summary["assumptions"]),
        warnings=tuple(summary["warnings"]) if steps else (),
        details=summary,
    )


def predict(stage: Stage, context: Context) -> Work:
    """Embedding of a split, or of one side of it."""
    config = context.config(stage)
    source = _source(config, context)
    planned = fit_of(config, context.flags, source.path, source.tasks, there=context.there)
    asked = str((config.get("data") or {}).get("predict", "test"))
    side, _, name = asked.rpartition("/")
    split = source.split(name)
    instructions = str((config.get("data") or {}).get("prompts", "first")) != "none"
    sides = [SPLITS[side]] if side else list(Side)
    rows = {one: split.rows(one, instructions=instructions) for one in sides}
    counts = {one.value: sum(kind.count for kind in kinds) for one, kinds in rows.items()}
    spans = [embedding(planned.encoder, kinds, planned.machine, precision=planned.precision) for kinds in rows.values()]
    total = Span(sum(span.gpu_hours for span in spans), planned.machine.gpus, sum(span.flops for span in spans))
    summary = predict_summary(planned)
    return Work(
        {"embedding": total},
        {f"store of {one}": plan_disk.store(n, planned.encoder.dimension) for one, n in counts.items()},
        counts=counts,
        needs=checkpoints(config["model"]["encoder"], planned),
        assumptions=(*split.assumptions, *summary["assumptions"][2:]),
        warnings=tuple(summary["warnings"]),
        details=summary,
    )


def fit_reranker(stage: Stage, context: Context) -> Work:
    """Training a reranker: lists of one positive and mined negatives, the shared prefix once."""
    config = context.config(stage)
    model, data, trainer = (config.get(key) or {} for key in ("model", "data", "trainer"))
    split = _source(config, context).split("train")
    dtype = str(model.get("dtype", "float32"))
    source, lora = str(model.get("checkpoint")), model.get("lora")
    asked = answerer(source, any_resolution=False, dtype=dtype)
    lists, per_list = int(data.get("batch_size", 8)), 1 + int(data.get("negatives_per_query", 7))
    per_epoch = max(1, int(split.queries) // lists)
    ends = [trainer.get("max_steps"), trainer.get("max_epochs")]
    steps = min(
        (end * unit for end, unit in zip(ends, (1, per_epoch), strict=True) if end is not None and end >= 0),
        default=per_epoch,
    )
    flops = 0.0
    for one in split.asked:
        made = question(one, asked, str(model.get("template", "none")))
        share = one.queries / split.queries
        flops += share * learning_flops(made, asked, questions=per_list, lora=lora)
    trained = trained_weights(asked, lora=lora, projector=model.get("projector") == "trained")
    machine = context.machine(trainer.get("devices"))
    span = computing(flops * lists * steps, machine, "32-true" if asked.value_bytes == FULL else "16")
    resume = trained * (FULL + plan_disk.ADAM) + plan_disk.SMALL
    return Work(
        {"training": span} if steps else {},
        {"model": asked.size, "resume.ckpt": resume if steps else 0.0, "log": plan_disk.SMALL},
        needs=(downloaded(source, asked.size / asked.value_bytes),),
        counts={"steps": steps, "questions": steps * lists * per_list},
        assumptions=split.assumptions,
    )


def checkpoints(encoder: Mapping[str, Any], planned: Fit) -> tuple[Need, ...]:
    """Return the checkpoints that an encoder's configuration names and that are no folders here."""
    given = ((encoder.get("init_args") or {}).get("backbone") or {}).get("init_args") or {}
    parts = planned.encoder.parts
    sizes = {name: float(part.parameters) for name, part in parts.items()}
    whole = sum(size for name, size in sizes.items() if name not in ("adapters",))
    language = sizes.get("language model", 0.0)
    found = []
    if str(encoder.get("class_path", "")).endswith("ClipFusion"):
        name = given.get("pretrained") or given.get("name_or_path")
        found += [downloaded(f"CLIP {given.get('architecture', '')} {name}".replace("  ", " "), whole)] if name else []
    elif "nv_embed" in given:
        pooling = sizes.get("pooling", 0.0)
        found.append(downloaded(str(given["nv_embed"]), language + pooling))
        found.append(downloaded(str(given.get("llava")), whole - pooling))
    elif "path" in given:
        found.append(downloaded(str(given["path"]), whole))
    return tuple(need for need in found if not _local(need.name))


def _local(name: str) -> bool:
    from pathlib import Path

    return Path(name).exists() or name.startswith(("/", "./", "../"))


def _source(config: Config, context: Context) -> Source:
    return context.source((config.get("data") or {}).get("path"))


def _mining(config: Config) -> dict[str, Any] | None:
    """Return the arguments of the callback that mines, if there is one."""
    trainer = config.get("trainer") or {}
    listed = [*(trainer.get("callbacks") or []), *(trainer.get("callbacks+") or [])]
    for callback in listed:
        if str(callback.get("class_path", "")).endswith("MineNegatives"):
            return dict(callback.get("init_args") or {})
    return None


def _mined(
    planned: Fit, source: Source, mining: Mapping[str, Any], config: Config
) -> tuple[dict[str, Span], float, float]:
    """Return the time of mining, the bytes of its negatives, and those of its stores and ranking meanwhile."""
    split = source.split(str(mining.get("split", "train")))
    instructions = str((config.get("data") or {}).get("prompts", "first")) != "none"
    rows = tuple(kind for side in Side for kind in split.rows(side, instructions=instructions))
    if mining.get("every_n_epochs"):
        raise NotPlanned("mining every N epochs is not counted")
    pairs = split.local_pairs if mining.get("pool") == "local" else split.global_pairs
    depth, dimension = int(mining.get("depth", 50)), planned.encoder.dimension
    time = {
        "embedding": embedding(planned.encoder, rows, planned.machine, precision=planned.precision),
        "search": searching(pairs, dimension, planned.machine),
    }
    scratch = plan_disk.store(split.queries + split.documents, dimension) + plan_disk.ranking(split.queries, depth)
    return time, split.queries * depth * plan_disk.MINED, scratch
