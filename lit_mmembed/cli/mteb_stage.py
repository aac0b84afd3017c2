"""`mmembed evaluate --mteb`: a model on tasks of the library mteb."""

from __future__ import annotations

import argparse

import torch

from lit_mmembed.cli.tables import print_scores
from lit_mmembed.encoders.pretrained import load_encoder, training_record
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.embedding import Embedding
from lit_mmembed.evaluation.mteb.names import LOCAL
from lit_mmembed.evaluation.mteb.prompts import Policy, Prompts
from lit_mmembed.evaluation.mteb.protocol import load_mteb

SHOWN = (("ndcg", 10), ("hit", 1), ("hit", 10), ("recall", 100))
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def evaluate_mteb(flags: argparse.Namespace) -> None:
    """Run mteb on a model into OUT: scores.jsonl, tasks/, and mteb's own files below results/.

    Everything that can be wrong without a model is asked before one is loaded.
    """
    if flags.prompts != "first":
        raise InputError("--prompts is not for --mteb", fix=f"give --mteb-prompts {', '.join(Policy)}")
    library = load_mteb(flags.out / "mteb_cache")
    from lit_mmembed.evaluation.mteb.local import in_memory_tasks
    from lit_mmembed.evaluation.mteb.model import MtebRetriever
    from lit_mmembed.evaluation.mteb.run import evaluate_tasks, named_tasks

    named = [name for name in flags.mteb if name != LOCAL]
    tasks = named_tasks(library, named, splits=flags.mteb_splits)
    local = []
    if LOCAL in flags.mteb:
        if flags.data is None:
            raise InputError(f"--mteb {LOCAL} needs --data", fix="name a data directory")
        local = in_memory_tasks(flags.data, flags.split, k=flags.k)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if flags.device == "auto" else flags.device
    model = MtebRetriever(
        load_encoder(flags.model, allow=tuple(flags.allow_imports)),
        flags.out,
        prompts=Prompts(flags.mteb_prompts, local={task.metadata.name: task.asked for task in local}),
        embedding=Embedding(
            device=device,
            autocast=AUTOCAST[flags.precision],
            rows=flags.rows,
            tokens=flags.tokens,
            workers=flags.workers,
            lengths=tuple(flags.lengths) if flags.lengths else None,
        ),
    )
    scores = evaluate_tasks(
        library,
        model,
        [*local, *tasks],
        flags.out,
        record={"training": training_record(flags.model)},
        keep_stores=flags.keep_stores,
    )
    print_scores([score for score in scores if (score.metric, score.k) in SHOWN])
