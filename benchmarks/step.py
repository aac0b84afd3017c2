"""A training step through Lightning beside the bare one: forward, cross-entropy, backward, AdamW on the same features.

The Trainer fits `RetrieverModule` (tiny CLIP_SF; 128 queries, each with a positive and a mined negative) with the log
and the optimizer of experiments/emoji_beir/train.yaml. After every step a callback makes the bare step of a copy of the
encoder with the same batch, so that the two alternate. A Lightning step lasts from there to the next callback:
fetching, hooks, mask, learned temperature, gradient norm, schedule and log included. Batches are ready in memory.

`PlainModule` makes the bare step inside Lightning and logs nothing: what Lightning itself adds. One thread, and CPU
seconds: a step never waits, and a busy machine disturbs them less.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.made import jpeg, texts
from benchmarks.measure import save
from lit_mmembed.data.collate import TrainingCollate
from lit_mmembed.data.triplets import Triplet
from lit_mmembed.encoders.clip_fusion import ClipFusion
from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
from lit_mmembed.encoders.tokenizer import train_tokenizer
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.log import JsonLinesLogger
from lit_mmembed.training.optimization import Optimization, decay_groups
from lit_mmembed.training.retriever import RetrieverModule
from lit_mmembed.types import EncoderRow, Side

CONFIG = Path("experiments/encoders/tiny_clip.json")
BATCH, BATCHES, STEPS, WARMUP, TEMPERATURE = 128, 4, 24, 3, 0.07
AT_MOST = 1.05
RECIPE = Optimization(lr=1e-3, warmup_steps=20)


class Alternating(Callback):
    """Times the Trainer's steps and, between them, bare steps."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.optimizer = optimizer_of(encoder)
        self.lightning, self.bare = [], []
        self._left = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now = time.process_time()
        self.optimizer.zero_grad()
        plain_loss(self.encoder, batch).backward()
        self.optimizer.step()
        left = time.process_time()
        if self._left is not None:
            self.lightning.append(now - self._left)
            self.bare.append(left - now)
        self._left = left


class PlainModule(lightning.LightningModule):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def training_step(self, batch, batch_idx):
        return plain_loss(self.encoder, batch)

    def configure_optimizers(self):
        return optimizer_of(self.encoder)


def plain_loss(encoder, batch):
    score = encoder(batch.query) @ encoder(batch.document).T / TEMPERATURE
    return functional.cross_entropy(score, batch.positive)


def optimizer_of(encoder):
    groups = decay_groups([encoder], RECIPE.weight_decay)
    return torch.optim.AdamW(groups, lr=RECIPE.lr, betas=RECIPE.betas, eps=RECIPE.eps, foreach=True)


def make_encoder(folder, generator):
    train_tokenizer(texts(4_000, generator), folder / "tokenizer.json")
    torch.manual_seed(0)
    backbone = OpenClipBackbone(config=CONFIG, tokenizer=folder / "tokenizer.json")
    return ClipFusion(backbone, text_groups=4)


def make_batches(encoder, generator):
    """Queries and documents of text, image and both in turn."""
    sentences = iter(texts(BATCHES * BATCH * 3, generator, longest=25))

    def row(place, side):
        text = next(sentences) if place % 3 != 1 else None
        image = jpeg((96, 80), generator) if place % 3 else None
        return EncoderRow(text, image, side, "find what is asked for" if side is Side.QUERY else None)

    def triplet(place):
        positive, negative = ((f"9:{place}{kind}", row(place + 1, Side.CANDIDATE)) for kind in "pn")
        return Triplet(row(place, Side.QUERY), positive, (negative,), (positive[0],), 0)

    collate = TrainingCollate(encoder.preprocess)
    return [collate([triplet(BATCH * number + place) for place in range(BATCH)]) for number in range(BATCHES)]


def alternate(module, encoder, batches, folder):
    """Fit for STEPS steps; return seconds of the Trainer's steps and of the bare ones."""
    times = Alternating(copy.deepcopy(encoder).train())
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_steps=STEPS, log_every_n_steps=10, logger=JsonLinesLogger(folder),
        callbacks=[times], enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return times.lightning[WARMUP:], times.bare[WARMUP:]


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = make_encoder(folder, generator)
        batches = make_batches(encoder, generator)
        own = RetrieverModule(
            copy.deepcopy(encoder), loss=InfoNCE(TEMPERATURE, learn_temperature=True), optimization=RECIPE
        )
        for module in (own, PlainModule(copy.deepcopy(encoder))):
            through, bare = alternate(module, encoder, batches, folder / type(module).__name__)
            pairs = list(zip(through, bare, strict=True))
            times = statistics.median(a / b for a, b in pairs)
            target = {"target_at_most": AT_MOST, "reached": times <= AT_MOST} if module is own else {}
            figures.append(
                {
                    "module": type(module).__name__, "queries": BATCH, "documents": 2 * BATCH, "steps": len(pairs),
                    "times_the_bare_step": round(times, 3), **target,
                    "milliseconds_added": round(statistics.median(a - b for a, b in pairs) * 1000, 1),
                    "bare_step_milliseconds": round(statistics.median(bare) * 1000),
                }
            )  # fmt: skip
    save("step", figures)


if __name__ == "__main__":
    main()
