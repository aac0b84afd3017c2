"""What a stage of a run folder was made from: the data it mined, the model and the vectors it was evaluated with."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Run, Stage
from lit_mmembed.evaluation.report.stage import STAGE_FILE, read_stage

STORES_FOLDER = "stores"
MINED_DATA = ("data.path", "data", "candidates")
"""Arguments of `fit` and of `mine` that name what was mined: a data directory, or a part of one."""
WEIGHTS = ("model", "model.weights")
"""Arguments of `evaluate`, `encode` and `predict` that name a model folder."""


def data_mined(run: Run, stage: Stage) -> Path:
    """Find the data directory whose queries a stage mined negatives for; it need not be there.

    Raises:
        InputError: the stage does not say.
    """
    recorded = _first(stage, MINED_DATA)
    if recorded is None:
        problem = f"does not say what was mined: none of {', '.join(MINED_DATA)} is among its arguments"
        raise InputError(problem, file=stage.folder, fix="open its negatives.parquet with `MinedNegatives`")
    place = run.locate(recorded)
    return next((path for path in (place, *place.parents[:2]) if (path / "qrels").is_dir()), place)


def data_searched(run: Run, stage: Stage) -> Path:
    """Find the data directory of an evaluation; it need not be there.

    Raises:
        InputError: it names none.
    """
    recorded = _first(stage, ("data",))
    if recorded is None:
        fix = "choose an evaluation of a data directory: those of `--mteb` have scores alone"
        raise InputError("names no data directory", file=stage.folder, fix=fix)
    return run.locate(recorded)


def model_of(run: Run, stage: Stage) -> Path:
    """Find the model folder of an evaluation, or of the stage that made the stores it was given; it need not be there.

    Raises:
        InputError: neither names one: a ranking was evaluated, or stores that no stage made from a model folder.
    """
    own = _first(stage, WEIGHTS)
    if own is not None:
        return run.locate(own)
    given = stage.arguments.get("stores")
    maker = None if given is None else _maker(run.locate(str(given)))
    recorded = None if maker is None else _first(maker, WEIGHTS)
    if recorded is None:
        made_by = "" if given is None else f", and no stage whose stores it was given ({given}) names one"
        fix = "choose an evaluation of a model, or load the model folder with `Retriever.from_pretrained`"
        raise InputError(f"names no model folder{made_by}", file=stage.folder, fix=fix)
    return run.locate(recorded)


def stores_of(run: Run, stage: Stage) -> Path:
    """Find the folder of an evaluation's stores: those it was given, else its own; it need not be there."""
    given = stage.arguments.get("stores")
    return stage.folder / STORES_FOLDER if given is None else run.locate(str(given))


def _maker(path: Path) -> Stage | None:
    """The stage in whose folder a path lies."""
    for folder in (path, *path.parents):
        if (folder / STAGE_FILE).exists():
            return read_stage(folder.parent, folder / STAGE_FILE)
    return None


def _first(stage: Stage, names: tuple[str, ...]) -> str | None:
    return next((str(stage.arguments[name]) for name in names if stage.arguments.get(name)), None)
