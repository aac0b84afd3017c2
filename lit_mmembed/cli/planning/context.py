"""What a stage of a recipe reads, before it is there: its data, and the encoder of a model folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_mmembed.cli.planning.configs import MANIFEST, Config, machine_of, merged_config
from lit_mmembed.cli.resolving import Stage
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.training.planned_encoder import PlannedEncoder, planned_encoder
from lit_mmembed.training.planned_fit import Machine
from lit_mmembed.training.splits import Split, circo_split, directory_split, mbeir_split

DESCRIPTION = "encoder.json"
PACKAGE = "lit_mmembed.encoders"


class NotPlanned(Exception):
    """Why a stage cannot be planned."""


@dataclass(frozen=True)
class Source:
    """Data: a directory that is there, M-BEIR or CIRCO as published."""

    path: Path | None = None
    published: str = "mbeir"
    tasks: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    """Only these; all where it is empty."""
    pool_of_val: str = "union"

    def split(self, name: str) -> Split:
        """Return a split."""
        if self.path is not None:
            return directory_split(self.path, name)
        return circo_split(name) if self.published == "circo" else self.of_mbeir(name)

    def of_mbeir(self, name: str) -> Split:
        """Return a split of M-BEIR as published."""
        return mbeir_split(name, self.tasks, pool_of_val=self.pool_of_val)


@dataclass
class Context:
    """All stages of all recipes by their folders, the flags, and what is finished."""

    flags: argparse.Namespace
    stages: dict[Path, Stage] = field(default_factory=dict)
    finished: dict[str, Path] = field(default_factory=dict)
    """Fingerprint -> folder of a stage that some run folder has finished."""

    def machine(self, devices: Any = None) -> Machine:
        """Return where stages run."""
        return machine_of(self.flags, devices)

    def maker(self, path: str | Path) -> Stage | None:
        """Return the stage in whose folder a path lies."""
        for folder in (Path(path), *Path(path).parents):
            if folder in self.stages:
                return self.stages[folder]
        return None

    def config(self, stage: Stage) -> Config:
        """Return the merged configuration of a stage of LightningCLI."""
        return merged_config(stage.config, stage.arguments)

    def there(self, path: str | Path) -> Path:
        """Return where a path is found now: its place, or that of the same stage in another run folder."""
        stage = self.maker(path)
        if Path(path).exists() or stage is None or stage.fingerprint not in self.finished:
            return Path(path)
        return self.finished[stage.fingerprint] / Path(path).relative_to(stage.folder)

    def source(self, path: str | Path | None) -> Source:
        """Return what a data directory will be.

        Raises:
            NotPlanned: it is an earlier stage's output whose size is not known yet.
        """
        stage = None if path is None else self.maker(path)
        of_mbeir = stage is None or stage.command != "shard" or stage.arguments.get("source") in OF_MBEIR
        if self.flags.data and of_mbeir:
            return Source(self.flags.data)
        if path is not None and (self.there(path) / MANIFEST).exists():
            return Source(self.there(path))
        if stage is None:
            return Source()
        found = _as_published(stage) if stage.command == "shard" else None
        if found is None:
            more = ": give --data" if of_mbeir else ": its size is not known"
            raise NotPlanned(f"the data of stage {stage.name} are not there yet{more}")
        return found

    def encoder(self, path: str | Path) -> PlannedEncoder:
        """Return the encoder of a model folder, made or to be made.

        Raises:
            NotPlanned: nothing says what it will be.
            InputError: its shapes are not known.
        """
        stage = self.maker(path)
        if stage is not None and stage.command == "fit":
            config = self.config(stage)
            return planned_encoder((config.get("model") or {}).get("encoder") or {})
        if stage is not None and stage.command == "convert":
            return planned_encoder(converted(stage.arguments))
        if stage is not None and stage.command == "merge":
            return self.encoder(stage.arguments["model"])
        if (self.there(path) / DESCRIPTION).exists():
            return planned_encoder(read_json(self.there(path) / DESCRIPTION))
        made = f", and stage {stage.name} ({stage.command}) does not say" if stage else ""
        raise NotPlanned(f"what {path} will be is not known{made}")


OF_MBEIR = ("mbeir", "parquet", "emoji_beir")
"""Sources that --data stands for."""


def _as_published(stage: Stage) -> Source | None:
    """Return the published data that a stage shards; None where they are the user's own."""
    arguments = stage.arguments
    kind = arguments.get("source")
    if kind == "circo":
        return Source(published="circo")
    if kind == "mbeir" and not (Path(str(arguments.get("root"))) / "tasks.json").exists():
        tasks, splits = (tuple(arguments.get(name) or ()) for name in ("tasks", "splits"))
        return Source(tasks=tasks, splits=splits, pool_of_val=str(arguments.get("val_pool") or "union"))
    return Source(tasks=(str(arguments.get("task")),)) if kind == "parquet" else None


def converted(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what `mmembed convert` makes of a released checkpoint, as a configuration would.

    Raises:
        InputError: it names none.
    """
    if arguments.get("uniir"):
        architecture = arguments.get("architecture", "ViT-L-14-quickgelu")
        backbone = {"config": arguments["config"]} if arguments.get("config") else {"architecture": architecture}
        return _described(
            "clip_fusion.ClipFusion", backbone=_described("open_clip_backbone.OpenClipBackbone", **backbone)
        )
    pooling: dict[str, Any] = {"class_path": "LatentAttentionPooling", "init_args": {}}
    if arguments.get("mm_embed"):
        given = {"nv_embed": arguments["nv_embed"]} if arguments.get("nv_embed") else {}
        backbone = _described("nv_embed.NvEmbedLlavaBackbone", **given, **HALF_WEIGHTS)
    elif arguments.get("nv_embed"):
        backbone = _described("nv_embed.NvEmbedBackbone", path=arguments["nv_embed"], **HALF_WEIGHTS)
    elif arguments.get("llava"):
        backbone = _described("llava_next.LlavaNextBackbone", path=arguments["llava"], **HALF_WEIGHTS)
        return _described("mllm.MllmEncoder", backbone=backbone, trained=[], query_length=128, candidate_length=128)
    else:
        raise InputError("`mmembed convert` names no checkpoint", fix="see `mmembed convert --help`")
    return _described(
        "mllm.MllmEncoder", backbone=backbone, pooling=pooling, attention="bidirectional", trained=[],
        query_length=4096, candidate_length=4096,
    )  # fmt: skip


HALF_WEIGHTS = {"dtype": "bfloat16", "weights": False}
"""A converted model folder is whole."""


def _described(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{PACKAGE}.{name}", "init_args": arguments}
