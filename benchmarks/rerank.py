"""Reranking beside plain batched scoring: one query, k = 10 documents, a shared prefix of 300 tokens, suffixes of 40.

Four contenders, interleaved, one thread and CPU seconds, the same random LLaVA-Next of ten million weights:
- `full logits`: transformers' `LlavaNextForConditionalGeneration` on the padded batch of 10 prompts, logits everywhere;
- `last logits`: the same with logits of the last position only;
- `one by one packed`: ours, nothing shared: packed rows, two rows of the head;
- `shared`: ours as `mmembed rerank` runs it.

The token ratio K (P + S) / (P + K S) = 4.86 is what sharing could give where only linear layers cost; the share of it
that is reached is measured against the packed contender, which differs in nothing but sharing.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.made import texts
from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.encoders.initial import write_initial
from lit_mmembed.encoders.llm_tokenizer import prompt_wordings, train_llm_tokenizer
from lit_mmembed.reranking.llava import LlavaPrompts, LlavaReranker
from lit_mmembed.reranking.tokens import SharedPrompts

PREFIX, SUFFIX, DOCUMENTS = 300, 40, 10
VOCABULARY = 8_000
AT_LEAST, SHARE_AT_LEAST = 3.0, 0.8
CONFIG = {
    "text_config": {
        "hidden_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 1152,
        "max_position_embeddings": 1024,
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "vision_config": {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "projection_dim": 8,
    },
    "vision_feature_layer": -2,
}


def make_checkpoint(folder, generator):
    train_llm_tokenizer([*texts(2_000, generator), *prompt_wordings()], folder / "tokenizer", vocab_size=VOCABULARY)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return write_initial(
        "llava_next", config=folder / "config.json", tokenizer=folder / "tokenizer", out=folder / "checkpoint"
    )


def make_prompts(generator, vocabulary):
    prefix, *suffixes = (
        tuple(int(token) for token in generator.integers(10, vocabulary, size=size))
        for size in (PREFIX, *[SUFFIX] * DOCUMENTS)
    )
    return LlavaPrompts(SharedPrompts(prefix, tuple(suffixes)), {})


def contenders(folder):
    from transformers import LlavaNextForConditionalGeneration

    ours = LlavaReranker(folder).eval()
    theirs = LlavaNextForConditionalGeneration.from_pretrained(str(folder), dtype=torch.float32).eval()
    vocabulary = theirs.config.text_config.vocab_size
    prompts = make_prompts(np.random.default_rng(0), min(vocabulary, len(ours.tokenizer)) - 1)
    whole = tuple(prompts.prompts.prefix + suffix for suffix in prompts.prompts.suffixes)
    alone = [replace(prompts, prompts=SharedPrompts((), (row,))) for row in whole]
    ids = torch.tensor(whole)
    true, false = ours.answers.true, ours.answers.false

    def plain(**options):
        logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **options).logits[:, -1]
        return (logits[:, true] - logits[:, false]).numpy()

    return {
        "full logits": plain,
        "last logits": lambda: plain(logits_to_keep=1),
        "one by one packed": lambda: np.concatenate(ours.margins(alone)),
        "shared": lambda: np.concatenate(ours.margins([prompts])),
    }, sum(parameter.numel() for parameter in theirs.parameters())


@torch.inference_mode()
def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        runs, weights = contenders(make_checkpoint(Path(name), np.random.default_rng(0)))
        answers = {one: run() for one, run in runs.items()}
        farthest = max(float(np.abs(made - answers["full logits"]).max()) for made in answers.values())
        seconds = interleaved(runs, rounds=3, clock=time.process_time)
    tokens = DOCUMENTS * (PREFIX + SUFFIX) / (PREFIX + DOCUMENTS * SUFFIX)
    sharing = ratio(seconds, "one by one packed", "shared") / tokens
    figures = [
        {
            "prefix": PREFIX, "suffix": SUFFIX, "documents": DOCUMENTS, "weights": weights,
            "times_faster_than_full_logits": round(ratio(seconds, "full logits", "shared"), 2), "target": AT_LEAST,
            "times_faster_than_last_logits": round(ratio(seconds, "last logits", "shared"), 2),
            "times_faster_than_packed": round(ratio(seconds, "one by one packed", "shared"), 2),
            "token_ratio": round(tokens, 2), "share_of_token_ratio": round(sharing, 3), "share_target": SHARE_AT_LEAST,
            "reached": ratio(seconds, "full logits", "shared") >= AT_LEAST and sharing >= SHARE_AT_LEAST,
            "farthest_answers_apart": farthest,
            "milliseconds": {one: round(1000 * sorted(times)[len(times) // 2]) for one, times in seconds.items()},
        }
    ]  # fmt: skip
    save("rerank", figures)


if __name__ == "__main__":
    main()
