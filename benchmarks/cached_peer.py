"""One small Mistral body twice: as our encoder, and as a SentenceTransformer with its cached loss; equal weights."""

from __future__ import annotations

import json

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import MistralConfig, MistralModel

from benchmarks.gpu.models import write_tokenizer
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedBackbone
from lit_mmembed.encoders.pooling import LastTokenPooling
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.cached_step import cached_loss
from lit_mmembed.types import Batch

SCALE = 20.0


def both(folder, device, **shape):
    """Our encoder and theirs, with the same random weights, in training mode."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, vocabulary=min(8000, shape["vocab_size"]))
    config = MistralConfig(sliding_window=None, pad_token_id=None, **shape)
    with torch.device(device):
        body = MistralModel(config)
    body.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "mistral"
    transformer = Transformer(str(folder), model_kwargs={"attn_implementation": "sdpa"})
    theirs = SentenceTransformer(modules=[transformer, Pooling(config.hidden_size, "lasttoken")], device=str(device))
    ours = MllmEncoder(NvEmbedBackbone(folder, weights=False), pooling=LastTokenPooling(), trained=("language_model",))
    ours.backbone.language_model.load_state_dict(body.state_dict())
    return ours.to(device).train(), theirs.to(device).train()


def lengths_of(count, generator, *, median=32, spread=0.7, shortest=4, longest=128):
    """Lengths as collections of captions and passages have them: many short ones, few long ones."""
    drawn = np.exp(generator.normal(np.log(median), spread, count))
    return np.clip(np.round(drawn), shortest, longest).astype(np.int64)


def features_of(lengths, vocabulary, generator, device):
    """The same rows in our form and in theirs."""
    ids = torch.from_numpy(generator.integers(10, vocabulary, int(lengths.sum())).astype(np.int32))
    sizes = torch.from_numpy(lengths)
    ours = {
        "tokens": ids, "lengths": sizes.to(torch.int32), "counts": torch.ones(len(ids), dtype=torch.bool),
        "cut": torch.zeros(len(sizes), dtype=torch.int32),
    }  # fmt: skip
    rows = torch.nn.utils.rnn.pad_sequence(list(ids.long().split(lengths.tolist())), batch_first=True)
    mask = (torch.arange(rows.shape[1]) < sizes.unsqueeze(1)).long()
    theirs = {"input_ids": rows, "attention_mask": mask}
    return tuple({name: tensor.to(device) for name, tensor in side.items()} for side in (ours, theirs))


def batches(count, vocabulary, device, *, seed=0):
    """`count` pairs of queries and documents: a `Batch`, and what their loss takes."""
    generator = np.random.default_rng(seed)
    query = features_of(lengths_of(count, generator, median=24), vocabulary, generator, device)
    document = features_of(lengths_of(count, generator, median=48), vocabulary, generator, device)
    numbers = torch.arange(count, device=device)
    ours = Batch(query[0], document[0], numbers, numbers, numbers[:, None], torch.zeros_like(numbers))
    return ours, [query[1], document[1]]


def our_step(encoder, batch, chunk_tokens):
    value = cached_loss(encoder, InfoNCE(1 / SCALE).to(batch.positive.device), batch, chunk_tokens=chunk_tokens)
    value.backward()
    return value.detach()


def their_loss(model, *, rows, tokens=None):
    options = {} if tokens is None else {"mini_batch_num_tokens": tokens}
    return CachedMultipleNegativesRankingLoss(model, scale=SCALE, mini_batch_size=rows, **options)


def their_step(loss, columns):
    value = loss([dict(column) for column in columns], None)
    value.backward()
    return value.detach()


def agreement(ours, theirs):
    """The largest difference of gradients, relative to each weight's largest."""
    own = dict(ours.backbone.language_model.named_parameters())
    other = dict(theirs[0].model.named_parameters())
    assert own.keys() == other.keys()
    worst = 0.0
    for name, parameter in own.items():
        one, two = parameter.grad, other[name].grad
        if one is None and two is None:
            continue
        worst = max(worst, float((one - two).abs().max() / two.abs().max().clamp(min=1e-12)))
    return worst
