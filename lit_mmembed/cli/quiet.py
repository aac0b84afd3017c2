"""What libraries say on the way that says nothing to the user."""

from __future__ import annotations

import logging
import warnings

import torch


def quiet() -> None:
    """Silence what says nothing to the user: worker counts, missing servers' tips, device lists."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    for logger in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.trainer.connectors.checkpoint_connector",
        "lightning.fabric.utilities.seed",
    ):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*isinstance.*LeafSpec.*",
        ".*log_every_n_steps.*",
        ".*args parameter is intended to run from within Python.*",
        ".*custom batch sampler.*for prediction.*",
        ".*Total length of `DataLoader` across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", message)
