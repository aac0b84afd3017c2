"""Every YAML in experiments/: recipes resolve, and each fit, pretrain and predict of them takes a step in small."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from lit_mmembed.cli.arguments import parser
from lit_mmembed.cli.commands import LIGHTNING, STAGES
from lit_mmembed.cli.execution import lightning_flags, stage_flags
from lit_mmembed.cli.recipe import Stage, load, resolve
from tests.data.text_sets import write_words
from tests.encoders.initial_folders import checkpoint
from tests.tiny import ROOT, Tiny, done

FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "experiments").rglob("*.yaml"))
CONTENTS = {file: yaml.safe_load((ROOT / file).read_text()) for file in FILES}
RECIPES = [file for file in FILES if {"stages", "base", "recipes"} & CONTENTS[file].keys()]
MACHINES = [file for file in FILES if file.startswith("experiments/mbeir/machines/")]
ENCODERS = [file for file in FILES if file.startswith("experiments/encoders/")]
SWEEPS = [file for file in FILES if "method" in CONTENTS[file]]
"""W&B's sweep files: tests/cli/test_sweep.py."""
MADE_FROM_DATA = ("shard", "texts", "tokenizer", "convert")
"""Commands whose stages all seeds share: they are made from what there is, without a draw."""
CONTINUED = "continual"
"""Fits that go on from M_hard, as the paper's continual stage does."""
SMALL_ENCODER = "experiments/encoders/clip_sf_tiny.yaml"
PLAIN = {
    "trainer.accelerator": "cpu",
    "trainer.devices": 1,
    "trainer.precision": "32-true",
    "trainer.enable_progress_bar": "false",
    "data.workers": 0,
    "data.batch_size": 8,
}


@cache
def stages_of(recipe: str, out: Path = Path("runs")) -> dict[str, Stage]:
    return resolve(load(ROOT / recipe), seed=3, out=out, file=ROOT / recipe)


def different_steps() -> list[tuple[str, str]]:
    """(recipe, stage) of LightningCLI's stages, one for each command, list of configurations and set of arguments."""
    found: dict[tuple, tuple[str, str]] = {}
    for recipe in RECIPES:
        for name, stage in load(ROOT / recipe).stages.items():
            if stage.command in LIGHTNING:
                configs = OmegaConf.to_container(stage.config, resolve=False)
                found.setdefault((stage.command, tuple(configs), tuple(sorted(stage.arguments))), (recipe, name))
    return sorted(found.values())


STEPS = different_steps()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text data directory: what a mixture's source is in small."""
    return write_words(tmp_path_factory.mktemp("words") / "set")


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


def test_every_file_is_a_recipe_or_a_configuration_that_a_recipe_names():
    named = {file for recipe in RECIPES for stage in stages_of(recipe).values() for file in stage.config}
    named.add("experiments/emoji_beir/reranker.yaml")  # of `mmembed fit-reranker`: docs/reranking.md
    assert set(RECIPES) | named | set(ENCODERS) | set(MACHINES) | set(SWEEPS) == set(FILES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_resolves_and_its_stages_build_on_earlier_ones(recipe):
    stages = stages_of(recipe)
    names = list(stages)
    for place, stage in enumerate(stages.values()):
        assert stage.command in {**STAGES, **LIGHTNING}
        assert set(stage.needs) <= set(names[:place])
        assert "${" not in str(stage.arguments) + str(stage.config)
        if stage.command in STAGES:
            parser().parse_args([stage.command, *stage_flags(stage.command, stage.arguments)])


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_smoke_changes_are_variables_of_the_recipe(recipe):
    content = load(ROOT / recipe)
    assert set(content.get("smoke", {})) <= set(content.get("vars", {}))


@pytest.mark.parametrize("recipe", RECIPES)
def test_seeds_share_the_data_and_nothing_that_is_trained(recipe):
    one, other = (resolve(load(ROOT / recipe), seed=seed, out=Path("runs"), file=ROOT / recipe) for seed in (0, 1))
    for name, stage in one.items():
        shared = stage.command in (*MADE_FROM_DATA, "report")
        assert (stage.folder == other[name].folder) == shared, name
        if stage.command != "report":
            assert (stage.fingerprint == other[name].fingerprint) == shared, name


@pytest.mark.parametrize("recipe", RECIPES)
def test_m_hard_starts_from_the_weights_that_m_rand_started_from(recipe):
    """Section 5.1: not from M_rand's weights; what it has of M_rand is the file of negatives."""
    for name, stage in stages_of(recipe).items():
        if stage.command == "fit" and name.startswith(CONTINUED):
            assert stage.arguments["model.weights"] == str(stages_of(recipe)["hard"].folder / "model")
        elif stage.command == "fit":
            assert not any(
                "weights" in argument and argument != "model.optimization.weight_decay" for argument in stage.arguments
            )
            assert all("weights" not in (CONTENTS[file].get("model") or {}) for file in stage.config)
        if name == "hard":
            assert stage.arguments["data.negatives"] == str(stages_of(recipe)["rand"].folder / "negatives.parquet")


@pytest.mark.parametrize(("recipe", "name"), STEPS, ids=[f"{Path(r).parent.name}/{Path(r).stem}:{n}" for r, n in STEPS])
def test_every_fit_and_predict_of_a_recipe_takes_a_step(recipe, name, tiny: Tiny, tiny_run: Path, words, tmp_path):
    stage = stages_of(recipe, tmp_path)[name]
    config = [SMALL_ENCODER if file in ENCODERS else file for file in stage.config]
    given = {key: value for key, value in stage.arguments.items() if not key.startswith("model.encoder.")}
    arguments = {**given, **PLAIN, "data.path": str(tiny.data), "trainer.fast_dev_run": 1}
    if stage.command == "fit-reranker":
        del arguments["data.workers"]  # it has none
    if stage.command in ("pretrain", "fit-reranker"):
        arguments["model.checkpoint"] = str(checkpoint("llava_next", tmp_path))
    else:
        arguments |= {
            f"model.encoder.init_args.backbone.init_args.{key}": str(path)
            for key, path in (("config", tiny.encoder), ("tokenizer", tiny.tokenizer))
        }
    if "data.negatives" in arguments:
        arguments["data.negatives"] = str(tiny_run / "negatives.parquet")
    if "data.mixture" in arguments:
        source = {"path": str(words), "negatives": "own" if "data.negatives" in arguments else None}
        arguments["data.mixture"] = {"weights": arguments["data.mixture"]["weights"], "sources": [source]}
    if "model.weights" in arguments:
        arguments["model.weights"] = str(tiny_run / "model")
    if stage.command == "predict":
        del arguments["trainer.fast_dev_run"]  # it would leave stores unfinished
    done(*lightning_flags(stage.command, arguments, config=config, folder=tmp_path / "run", seed=3))
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("training", ["experiments/emoji_beir/train.yaml", "experiments/mbeir/train.yaml"])
def test_every_encoder_parses_with_every_training_without_being_built(encoder, training):
    printed = done("fit", "-c", encoder, "-c", training, "--print_config").out
    resolved = yaml.safe_load(printed)
    backbone = CONTENTS[encoder]["model"]["encoder"]["init_args"].get("backbone")
    if backbone:
        found = resolved["model"]["encoder"]["init_args"]["backbone"]
        assert found["class_path"] == backbone["class_path"]
        assert backbone["init_args"].items() <= found["init_args"].items()
    assert resolved["data"]["batch_size"] == CONTENTS[training]["data"]["batch_size"]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_machine_goes_with_the_training_of_mllms(machine):
    files = ("experiments/encoders/llava_e.yaml", "experiments/mbeir/train_mllm.yaml", machine)
    printed = done("fit", *(part for file in files for part in ("-c", file)), "--print_config").out
    strategy = yaml.safe_load(printed)["trainer"]["strategy"]
    asked = CONTENTS[machine]["trainer"]["strategy"]
    if isinstance(asked, dict):
        assert strategy["class_path"] == asked["class_path"]
    else:
        assert strategy == asked
