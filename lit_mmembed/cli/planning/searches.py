"""Stages that embed with one device, search, and those that ask: mine, evaluate, rerank, encode, search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_mmembed.cli.planning.context import Context, NotPlanned
from lit_mmembed.cli.resolving import Stage
from lit_mmembed.evaluation.mteb.names import GROUPS, MBEIR, MTEB15
from lit_mmembed.training import plan_disk
from lit_mmembed.training.plan_reranking import Answerer, answerer, asking_flops, question
from lit_mmembed.training.plan_summary import RESERVED
from lit_mmembed.training.plan_work import Work, computing, downloaded, embedding, searching
from lit_mmembed.training.planned_encoder import FULL, PlannedEncoder, planned_encoder
from lit_mmembed.training.published import MTEB15_SETS, Need
from lit_mmembed.training.splits import Split, mbeir_split, text_split
from lit_mmembed.types import Side

ONE_GPU = "embedding with one GPU: `mmembed predict` takes all"
DEPTH, PROTOCOL_DEPTH, MTEB_DEPTH = 50, 51, 1000
BATCH_TOKENS = 8192
ANSWER = 40
"""Bytes of an answer in `*.answers.parquet`."""
SCORES = 1 << 20
"""Bytes of an evaluation's scores, resampled intervals and records, about."""


def mine(stage: Stage, context: Context) -> Work:
    """Embedding with a teacher, search, rules; a ranking or random documents need no GPU."""
    given = stage.arguments
    if not (given.get("teacher") or given.get("stores")):
        return Work(disk={"negatives.parquet": plan_disk.SMALL} if given.get("random") is None else {})
    split = context.source(given["data"]).split(str(given.get("split", "train")))
    depth = max(int(given.get("depth", DEPTH)), int(given.get("last") or 0))
    encoder = _encoder(given.get("teacher"), given.get("stores"), context)
    pairs = split.local_pairs if given.get("pool") == "local" else split.global_pairs
    machine = context.machine()
    time = {"search": searching(pairs, encoder.dimension, machine)}
    scratch, notes = plan_disk.ranking(split.queries, depth), split.assumptions
    if given.get("teacher"):
        time["embedding"] = _embedded(encoder, split, given, context)
        scratch += plan_disk.store(split.queries + split.documents, encoder.dimension)
        notes += (ONE_GPU,)
    kept = min(depth, int(given.get("per_query") or depth))
    negatives = split.queries * kept * plan_disk.MINED
    return Work(time, {"negatives.parquet": negatives}, scratch, counts=_counts(split), assumptions=notes)


def evaluate(stage: Stage, context: Context) -> Work:
    """Embedding where a model is named, search of the global and the local pools, scores."""
    given = stage.arguments
    if given.get("mteb"):
        return _mteb(given, context)
    if not (given.get("model") or given.get("stores")):
        return Work(disk={"scores": SCORES})
    protocol = given.get("protocol")
    split = context.source(given["data"]).split(str(given.get("split") or ("val" if protocol else "test")))
    depth = max(int(given.get("depth", DEPTH)), PROTOCOL_DEPTH if protocol else 0)
    encoder = _encoder(given.get("model"), given.get("stores"), context)
    pairs = {"circo": split.global_pairs, "cirr": split.global_pairs, "fashioniq": split.local_pairs}.get(
        str(protocol), split.global_pairs + split.local_pairs
    )
    time = {"search": searching(pairs, encoder.dimension, context.machine())}
    disk = {"rankings": plan_disk.ranking(split.queries, depth) * (1 if protocol else 2), "scores": float(SCORES)}
    notes = split.assumptions
    if given.get("model"):
        time["embedding"] = _embedded(encoder, split, given, context)
        disk["stores"] = plan_disk.store(split.queries + split.documents, encoder.dimension)
        notes += (ONE_GPU,)
    return Work(time, disk, counts=_counts(split), assumptions=notes)


def rerank(stage: Stage, context: Context) -> Work:
    """Questions about the best k documents of each query, a part of the queries on each GPU."""
    given = stage.arguments
    split = context.source(given["data"]).split(str(given.get("split", "test")))
    if tasks := given.get("tasks"):
        split = replace(split, asked=tuple(one for one in split.asked if one.task.name in tasks))
    k = int(given.get("k", 10))
    ranking = plan_disk.ranking(split.queries, DEPTH) + split.queries * k * ANSWER
    counts = {"queries": split.queries, "questions": split.queries * k}
    if given.get("oracle") or given.get("answers"):
        return Work(disk={"ranking": ranking}, counts=counts, assumptions=split.assumptions)
    model = _answerer(given, context)
    budget, template = int(given.get("tokens", BATCH_TOKENS)), str(given.get("template", "none"))
    flops = tokens = 0.0
    for asked in split.asked:
        one = question(asked, model, template, given.get("document_tokens"))
        flops += asking_flops(asked, one, model, k=k, budget=budget)
        tokens += asked.queries * one.tokens(k)
    machine = context.machine()
    usable = machine.device.memory * (1 - RESERVED)
    warned = f"{model.size / 2**30:.1f} GiB of weights do not fit into one {machine.device.name}"
    gpus = _rerank_gpus(given, machine.gpus)
    span = computing(flops, machine, "32-true" if model.value_bytes == FULL else "16", gpus=gpus)
    name = str(given["model"])
    return Work(
        {"questions": span},
        {"ranking": ranking},
        needs=() if context.maker(name) else (downloaded(name, model.size / model.value_bytes),),
        counts={**counts, "tokens": tokens},
        assumptions=(*split.assumptions, f"every query has {k} documents of the wanted modality"),
        warnings=(warned,) if model.size > usable else (),
    )


def _rerank_gpus(given: Mapping[str, Any], gpus: int) -> int:
    """How many GPUs `mmembed rerank` takes: all, unless it is told."""
    devices = str(given.get("devices", "auto"))
    if given.get("part") or str(given.get("device", "auto")) != "auto":
        return 1
    return min(int(devices), gpus) if devices.isdecimal() else gpus


def encode(stage: Stage, context: Context) -> Work:
    """Embedding with one device: a split, or one side of it."""
    given = stage.arguments
    path = str(given["data"])
    encoder = context.encoder(given["model"])
    head, _, last = path.rpartition("/")
    one_sided = head.endswith(("/queries", "/candidates"))
    source = context.source(head.rpartition("/")[0] if one_sided else path)
    split = source.split(last if one_sided else str(given.get("split", "test")))
    sides = [Side.QUERY if head.endswith("queries") else Side.CANDIDATE] if one_sided else list(Side)
    instructions = given.get("prompts", "first") != "none"
    rows = tuple(kind for side in sides for kind in split.rows(side, instructions=instructions))
    span = embedding(encoder, rows, context.machine(), precision=str(given.get("precision", "32-true")), gpus=1)
    value_bytes = FULL if given.get("dtype") == "float32" else 2
    disk = {"stores": plan_disk.store(sum(kind.count for kind in rows), encoder.dimension, value_bytes)}
    return Work({"embedding": span}, disk, assumptions=(*split.assumptions, ONE_GPU))


def _mteb(given: Mapping[str, Any], context: Context) -> Work:
    """Each task's own pool is embedded, searched, and its stores removed."""
    encoder, machine = context.encoder(given["model"]), context.machine()
    if given.get("lengths"):
        encoder = replace(encoder, limit=dict(zip(Side, map(int, given["lengths"]), strict=True)))
    splits = list(_mteb_splits(given, context))
    stores = [plan_disk.store(split.queries + split.documents, encoder.dimension) for split in splits]
    spans = [_embedded(encoder, split, given, context) for split in splits]
    whole = computing(0.0, machine, "16", gpus=1)._replace(
        gpu_hours=sum(span.gpu_hours for span in spans), flops=sum(span.flops for span in spans)
    )
    pairs = sum(split.local_pairs for split in splits)
    keep = bool(given.get("keep_stores"))
    texts = sum(MTEB15_SETS[name].size for name in _mteb_names(given) if name in MTEB15_SETS)
    return Work(
        {"embedding": whole, "search": searching(pairs, encoder.dimension, machine)._replace(gpus=1)},
        {"scores": SCORES, **({"stores": sum(stores)} if keep else {})},
        0.0 if keep else max(stores, default=0.0),
        needs=(Need("mteb's text sets", texts, "mteb's statistics: characters of their texts"),) if texts else (),
        counts={"queries": sum(s.queries for s in splits), "documents": sum(s.documents for s in splits)},
        assumptions=("sizes and mean lengths of mteb's descriptive statistics", ONE_GPU),
    )


def _mteb_names(given: Mapping[str, Any]) -> list[str]:
    listed = given["mteb"] if isinstance(given["mteb"], list) else [given["mteb"]]
    groups = {group.name: group.members for group in GROUPS}
    return list(dict.fromkeys(part for name in listed for part in groups.get(str(name), (str(name),))))


def _mteb_splits(given: Mapping[str, Any], context: Context) -> Iterator[Split]:
    for name in _mteb_names(given):
        if name in MTEB15_SETS:
            yield text_split(MTEB15[name], MTEB15_SETS[name])
        elif name in MBEIR:
            yield mbeir_split("test", (MBEIR[name],))
        elif name == "local" and given.get("data"):
            yield context.source(given["data"]).split(str(given.get("split") or "test"))
        else:
            raise NotPlanned(f"the size of mteb's task {name} is not known")


def _embedded(encoder: PlannedEncoder, split: Split, given: Mapping[str, Any], context: Context) -> Any:
    """Return the time of both sides of a split with one device."""
    instructions = given.get("prompts", "first") != "none" and given.get("mteb_prompts") != "none"
    rows = tuple(kind for side in Side for kind in split.rows(side, instructions=instructions))
    precision = str(given.get("precision", "32-true"))
    return embedding(encoder, rows, context.machine(), precision=precision, gpus=1)


def _encoder(model: str | None, stores: str | None, context: Context) -> PlannedEncoder:
    """Return the encoder of a model folder, or of the stage that makes stores."""
    if model:
        return context.encoder(model)
    path = str(stores)
    stage = context.maker(path)
    if stage is None:
        raise NotPlanned(f"who makes the stores {path} is not known")
    if stage.command == "predict":
        return planned_encoder((context.config(stage).get("model") or {}).get("encoder") or {})
    if not stage.arguments.get("model"):
        raise NotPlanned(f"stage {stage.name} ({stage.command}) makes no stores")
    return context.encoder(stage.arguments["model"])


def _answerer(given: Mapping[str, Any], context: Context) -> Answerer:
    """Return the model that is asked: a released one, a folder, or what a stage trains from one of these."""
    name, dtype = str(given["model"]), str(given.get("precision", "32-true"))
    stage = context.maker(name)
    while stage is not None and stage.command in ("fit-reranker", "pretrain"):
        name = str((context.config(stage).get("model") or {}).get("checkpoint"))
        stage = context.maker(name)
    there = str(context.there(name))
    if stage is not None and not (Path(there) / "config.json").exists():
        raise NotPlanned(f"{name} does not exist yet (stage {stage.name}, {stage.command}): its shapes are not known")
    return answerer(there, any_resolution=bool(given.get("any_resolution")), dtype=dtype)


def _counts(split: Split) -> dict[str, float]:
    return {"queries": split.queries, "documents": split.documents}
