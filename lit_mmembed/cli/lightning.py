"""`mmembed fit|validate|test|predict`: LightningCLI over `RetrieverModule` and `RetrievalData`.

`mmembed pretrain` is a `fit` of `GenerationModule` on `GenerationData`, `fit-reranker` of `RerankerModule`.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentError
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_mmembed.cli.agent import agent_folder
from lit_mmembed.cli.quiet import quiet
from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file, find_again
from lit_mmembed.training.callbacks.export import CONFIG_FILE, ExportCheckpoint, ExportModel
from lit_mmembed.training.callbacks.progress import ProgressLines
from lit_mmembed.training.callbacks.resume import RESUME_FILE, AtomicCheckpointIO, ResumePoint
from lit_mmembed.training.callbacks.throughput import Throughput
from lit_mmembed.training.log import JsonLinesLogger
from lit_mmembed.training.retriever import RetrieverModule

TERMINATED = 128 + 15
"""Exit status after SIGTERM, by the shell's convention."""
PRETRAIN, FIT_RERANKER = "pretrain", "fit-reranker"
ALLOW_FLAG = "--allow-imports="
ALLOWED_IMPORTS = ["lit_mmembed", "lightning.pytorch", "torch.optim"]
"""What a YAML's `class_path` may name; `--allow-imports=my_package` adds to it."""


class RetrieverCLI(LightningCLI):
    """Adds a run folder, ties the seed to the data, the encoder's `preprocess` to the collators, and resuming."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--folder` and `--resume_every`; link the seed."""
        parser.add_argument(
            "--folder", type=Path, default=agent_folder("runs/latest"), help="Run folder: log, resume point, model."
        )
        parser.add_argument("--resume_every", type=int, default=100, help="Optimizer steps between two resume points.")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def before_fit(self) -> None:
        """Refuse to start over an earlier run by accident."""
        folder = Path(self._get(self.config, "folder"))
        resume = folder / RESUME_FILE
        for point in (resume, Path(self._get(self.config, "ckpt_path") or resume)):
            find_again(point)
        if resume.exists() and not self._get(self.config, "ckpt_path") and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            fix = f"go on with --ckpt_path={resume}, or name another --folder"
            raise InputError("already holds a run", file=folder, fix=fix)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the loggers, callbacks and plugin that every run has."""
        folder = Path(self._get(self.config_init, "folder"))
        settings = self._get(self.config_init, "trainer", default={})
        more = [] if isinstance(settings.get("logger"), bool) else _as_list(settings.get("logger"))
        loggers = [JsonLinesLogger(folder), *more]
        plugins = [*_as_list(settings.get("plugins"))]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        callbacks = self._callbacks(folder, settings)
        return super().instantiate_trainer(logger=loggers, plugins=plugins, callbacks=callbacks, **kwargs)

    def _callbacks(self, folder: Path, settings: dict[str, Any]) -> list[Callback]:
        # ExportModel first: what mines at the end finds the model on disk. ResumePoint last: it sees all states.
        callbacks = [self.export(folder), *_as_list(settings.get("callbacks"))]
        if settings.get("enable_progress_bar") is not False:
            callbacks.append(RichProgressBar() if sys.stderr.isatty() else ProgressLines())
        if self.subcommand == "fit":
            callbacks += self.speed(folder)
            every = int(self._get(self.config_init, "resume_every"))
            callbacks.append(ResumePoint(folder, every_n_steps=every))
        return callbacks

    def after_instantiate_classes(self) -> None:
        """Give the model's preprocessing to the data, and the seed to the module."""
        self.datamodule.connect(self.preprocess())
        seed = self._get(self.config, "seed_everything")
        self.model.seed = int(seed)

    def export(self, folder: Path) -> Callback:
        """Return what writes the model folder."""
        return ExportModel(folder)

    def speed(self, folder: Path) -> list[Callback]:
        """Return what measures a fit's throughput."""
        return [Throughput(folder)]

    def preprocess(self) -> Any:
        """Return what makes features of the data's rows."""
        return self.model.encoder.preprocess


class PretrainCLI(RetrieverCLI):
    """The same around a generator."""

    def export(self, folder: Path) -> Callback:
        """Return what writes the checkpoint folder."""
        return ExportCheckpoint(folder)

    def speed(self, folder: Path) -> list[Callback]:
        """Return nothing: batches of examples are not counted."""
        return []

    def preprocess(self) -> Any:
        """Return what makes features of the data's examples."""
        return self.model.preprocess


class RunConfig(SaveConfigCallback):
    """Writes the resolved configuration as FOLDER/config.yaml, whole or not at all.

    Without `ckpt_path`: a resumed run has the configuration of the run that it goes on with.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save on the first process."""
        config = self.config.clone()
        config.pop("ckpt_path", None)
        text = self.parser.dump(config, skip_unset=False)
        with atomic_file(Path(config.folder) / CONFIG_FILE) as partial:
            partial.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Parse and run; `arguments` begin with the subcommand."""
    return _main(arguments, _classes(arguments[0])[0])


def check(arguments: list[str]) -> None:
    """Parse what `main` would run and build nothing; InputError says what is wrong with it."""

    class Parsed(Exception):
        """There is nothing more to do."""

    class ParsingCLI(_classes(arguments[0])[0]):  # type: ignore[misc]
        """Ends where the objects would be built."""

        def before_instantiate_classes(self) -> None:
            """Stop."""
            raise Parsed

    with suppress(Parsed):
        _main(arguments, ParsingCLI)


def _main(arguments: list[str], cli: type[RetrieverCLI]) -> int:
    allowed = [
        value for flag in arguments if flag.startswith(ALLOW_FLAG) for value in flag[len(ALLOW_FLAG) :].split(",")
    ]
    arguments = [flag for flag in arguments if not flag.startswith(ALLOW_FLAG)]
    jsonargparse.set_parsing_settings(
        omegaconf_absolute_to_relative_paths=True,
        docstring_parse_attribute_docstrings=True,
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED_IMPORTS, *allowed],
    )
    quiet()
    _check_yaml(arguments)
    try:
        _run(arguments, cli)
    except SIGTERMException:  # Lightning would end with status 0, as if all were done
        raise SystemExit(TERMINATED) from None
    except ArgumentError as wrong:
        raise InputError(str(wrong), fix=f"`mmembed {arguments[0]} --help` explains every option") from None
    return 0


def _run(arguments: list[str], cli: type[RetrieverCLI]) -> None:
    _, classes = _classes(arguments[0])
    asked = "fit" if arguments[0] in (PRETRAIN, FIT_RERANKER) else arguments[0]

    class OneCommandCLI(cli):  # type: ignore[misc,valid-type]
        """Builds the parser of the command that is asked for: each takes half a second."""

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            """The one that is asked for."""
            return {asked: LightningCLI.subcommands()[asked]}

    OneCommandCLI(
        *classes,
        args=[asked, *arguments[1:]],
        seed_everything_default=0,
        parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
        trainer_defaults={"use_distributed_sampler": False},
        save_config_callback=RunConfig,
        save_config_kwargs={"save_to_log_dir": False},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
    )


def _classes(asked: str) -> tuple[type[RetrieverCLI], tuple[type, type]]:
    """Return the command line of a subcommand, and its module and data."""
    if asked == FIT_RERANKER:
        from lit_mmembed.cli.rerank_fit import CLASSES

        return PretrainCLI, CLASSES
    if asked != PRETRAIN:
        return RetrieverCLI, (RetrieverModule, RetrievalData)
    from lit_mmembed.data.generation_data import GenerationData
    from lit_mmembed.training.generation import GenerationModule

    return PretrainCLI, (GenerationModule, GenerationData)


def _check_yaml(arguments: list[str]) -> None:
    """Name a configuration that is not YAML; jsonargparse says what is wrong with it, but not with which."""
    files = [value for flag, value in pairwise(arguments) if flag in ("-c", "--config")]
    files += [flag.partition("=")[2] for flag in arguments if flag.startswith(("-c=", "--config="))]
    for file in filter(os.path.isfile, files):
        try:
            yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as broken:
            raise InputError(f"is not YAML: {broken}", file=file, fix="correct the file") from None


def _as_list(setting: Any) -> list[Any]:
    return list(setting) if isinstance(setting, (list, tuple)) else [] if setting is None else [setting]
