"""A small run folder by the public writers: a data directory, rankings of invented models, their evaluation, logs."""

import io
import json
import random

from PIL import Image

from lit_mmembed.data.building import write_directory
from lit_mmembed.evaluation.mbeir import evaluate
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from lit_mmembed.types import Modality, Sample, Task

TEXT, IMAGE, BOTH = Modality.TEXT, Modality.IMAGE, Modality.IMAGE_TEXT
TASKS = (Task("Toy", 30, 0, 1, TEXT, IMAGE), Task("Toy", 30, 3, 4, IMAGE, TEXT), Task("Toy", 30, 7, 7, BOTH, IMAGE))
PER_TASK = 6
SCRIPT = "<script>alert('query')</script> & \"more\""
QUERIES = {f"30:{10 * place + number}": task for place, task in enumerate(TASKS, 1) for number in range(PER_TASK)}
DOCUMENTS = {f"30:{100 + n}": IMAGE if n % 2 else TEXT for n in range(16)}
SKILL = {"M_rand": 0.3, "control": 0.4, "M_hard": 0.7}


def picture(number, size=(12, 12)):
    stream = io.BytesIO()
    Image.new("RGB", size, ((53 * number) % 256, (97 * number) % 256, 90)).save(stream, format="PNG")
    return stream.getvalue()


def positive_of(qid):
    """The first document of the modality asked for, counted from the query's number."""
    right = [did for did, modality in DOCUMENTS.items() if modality == QUERIES[qid].candidate_modality]
    return right[int(qid.partition(":")[2]) % len(right)]


def query_of(qid, number):
    task = QUERIES[qid]
    text = None if task.query_modality is IMAGE else (SCRIPT if number == 0 else f"query {number}")
    image = None if task.query_modality is TEXT else picture(number)
    return Sample(qid, text, image, task.query_modality, task.name, (positive_of(qid),))


def document_of(did, number):
    modality = DOCUMENTS[did]
    return Sample(
        did,
        f"<b>text</b> {number}" if modality is TEXT else None,
        picture(number) if modality is IMAGE else None,
        modality,
    )


def write_data(out, picture_of=None):
    queries = [query_of(qid, number) for number, qid in enumerate(QUERIES)]
    documents = [document_of(did, number) for number, did in enumerate(DOCUMENTS)]
    if picture_of:
        documents = [picture_of(sample) for sample in documents]
    out.parent.mkdir(parents=True, exist_ok=True)
    instructions = out.parent / "instructions.tsv"
    head = "query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\tprompt_2\n"
    rows = [f"{t.query_modality}\t{t.candidate_modality}\tToy\t30\tFind {t.name}.\tSeek {t.name}.\n" for t in TASKS]
    instructions.write_text(head + "".join(rows))
    return write_directory(
        out,
        [*(("queries/test", sample) for sample in queries), *(("candidates/test", sample) for sample in documents)],
        name="toy",
        source="a test",
        tasks=TASKS,
        qrels={"test": [(qid, positive_of(qid), 1, task.mbeir_id) for qid, task in QUERIES.items()]},
        instructions_tsv=instructions,
    )


def ranking_of(model, seed, instructions="with", pool="global"):
    """{qid: documents, best first}: a shuffle, the positive first for a share of the queries."""
    draw = random.Random(f"{model} {seed} {instructions} {pool}")
    rankings = {}
    for qid, task in QUERIES.items():
        dids = [did for did, m in DOCUMENTS.items() if pool == "global" or m == task.candidate_modality]
        draw.shuffle(dids)
        if draw.random() < SKILL.get(model, 0.5):
            dids.remove(positive_of(qid))
            dids.insert(draw.randrange(3), positive_of(qid))
        rankings[qid] = dids[:10]
    return rankings


def write_stage(folder, command, *, run_dir, labels=None, arguments=None, inputs=()):
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": folder.name,
        "command": command,
        "config": ["a.yaml"] if command == "fit" else [],
        "arguments": arguments or {},
        "labels": {"encoder": "CLIP_SF", **(labels or {})},
        "fingerprint": "f",
        "inputs": dict.fromkeys(inputs, "f"),
        "record": {"commit": "c0ffee", "versions": {"torch": "2.0"}},
    }
    (folder / "stage.json").write_text(json.dumps(content))
    return folder


def write_evaluation(folder, data, *, labels, run_dir, recorded="runs/toy", bootstrap=50, pools=("global", "local")):
    arguments = {"data": f"{recorded}/shared/data/shards", "split": "test", "prompts": "first"}
    arguments |= {"out": f"{recorded}/{folder.relative_to(run_dir)}"}
    write_stage(folder, "evaluate", run_dir=run_dir, labels=labels, arguments=arguments, inputs=("data",))
    lines = b""
    for pool in pools:
        run = folder / ("run.parquet" if pool == "global" else "run_local.parquet")
        ranking = ranking_of(labels["model"], labels["seed"], labels.get("instructions", "with"), pool)
        rows = [(qid, did, 99.0 - rank) for qid, dids in ranking.items() for rank, did in enumerate(dids)]
        record = {"prompts": "first", "data_hash": "d47a", "weights_hash": f"w{labels['seed']}"}
        write_ranking(run, from_pairs(*zip(*rows, strict=True)), record=record)
        where = {"queries": data / "queries/test", "candidates": data / "candidates/test", "pool": pool}
        evaluate(run=run, qrels=data / "qrels/test.txt", json=folder / "part", bootstrap=bootstrap, **where)
        lines += (folder / "part").read_bytes()
    (folder / "part").unlink()
    (folder / "scores.jsonl").write_bytes(lines)


def write_fit(folder, *, labels, run_dir, steps=(10, 20, 30)):
    write_stage(folder, "fit", run_dir=run_dir, labels=labels, arguments={"trainer.max_steps": 30}, inputs=("data",))
    (folder / "config.yaml").write_text(f"seed_everything: {labels['seed']}\nname: <{labels['model']}>\n")
    rows = [{"step": step - 1, "epoch": 0, "train/loss": loss_of(labels["seed"], step)} for step in steps]
    rows.append({"step": steps[-1] - 1, "epoch": 0, "val/hit@5/mean": 0.5, "val/modality_accuracy@1/mean": None})
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def loss_of(seed, step):
    return 4.0 - step / 10 + seed / 4


def write_statistics(folder, seed):
    row = {"queries": 6, "with_either": 1.0, "with_wrong_modality": 0.2 + seed / 10, "with_unsatisfying": 0.5}
    row |= {"negatives_per_query": 7.5, "positive_in_depth": 0.25, "median_positive_rank": None}
    row |= {"possible_false_negatives": 0.01, "compared_negatives": 45}
    (folder / "statistics.json").write_text(json.dumps({"tasks": {task.name: row for task in TASKS}}))


def write_run(run_dir, *, models=("M_rand", "control", "M_hard"), seeds=(0, 1, 2), instructions=("with",), **options):
    """A whole study."""
    data = write_data(run_dir / "shared/data/shards")
    write_stage(run_dir / "shared/data", "shard", run_dir=run_dir)
    for seed in seeds:
        for asked in instructions:
            for model in models:
                labels = {"model": model, "seed": seed, "instructions": asked}
                variant = run_dir / f"seed{seed}/{asked}_instructions"
                write_fit(variant / model, labels=labels, run_dir=run_dir)
                if model == "M_rand":
                    write_statistics(variant / model, seed)
                write_evaluation(variant / f"evaluate_{model}", data, labels=labels, run_dir=run_dir, **options)
    return run_dir


def tables_of(markdown):
    """{title: {row: {column: cell}}} of a report's Markdown."""
    tables, title, head = {}, None, None
    for line in markdown.splitlines():
        if line.startswith("## "):
            title, head = line[3:], None
        elif line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if head is None:
                head = cells
            elif not line.startswith("| ---"):
                label = cells[0].strip("*")
                tables.setdefault(title, {})[label] = dict(zip(head[1:], cells[1:], strict=True))
    return tables
