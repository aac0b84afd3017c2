"""The W&B logger with everything inside the run folder, so that an offline run can be synced whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class WandbRun(WandbLogger):
    """W&B for one run folder.

    Args:
        folder: The run folder; W&B's files go to `FOLDER/wandb`.
        project: W&B's project.
        name: The run's name; the folder's by default.
        offline: Write to disk only; `wandb sync` sends it later.

    Under `wandb agent` (WANDB_SWEEP_ID) the run is the sweep's own: W&B names it, and it is online unless WANDB_MODE
    says otherwise, because the server's search reads the metric from it.
    """

    def __init__(
        self, folder: str | Path, *, project: str = "lit_mmembed", name: str | None = None, offline: bool = True
    ) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Images of tables go through the data folder, which by default is in the home directory: `wandb sync` of
        # another user or machine would miss them.
        os.environ["WANDB_DATA_DIR"] = str(folder.resolve())
        if os.environ.get("WANDB_SWEEP_ID"):
            offline = os.environ.get("WANDB_MODE", "online") != "online"
        else:
            name = name or "/".join(folder.resolve().parts[-3:])
        mode: Literal["offline", "online"] = "offline" if offline else "online"
        super().__init__(name=name, save_dir=folder, project=project, mode=mode, offline=offline)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the run: the next stage in this process must not go on writing into it."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None
