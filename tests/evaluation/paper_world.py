"""Run folders for the paper's tables: stages with labels, and result files whose numbers are given in percent."""

import json

from lit_mmembed.cli import stages
from lit_mmembed.evaluation.scores import write_scores
from lit_mmembed.types import Score

MBEIR = {
    "visualnews_task0": 40.0,
    "mscoco_task0": 70.0,
    "fashion200k_task0": 10.0,
    "webqa_task1": 90.0,
    "edis_task2": 50.0,
    "webqa_task2": 80.0,
    "visualnews_task3": 30.0,
    "mscoco_task3": 92.0,
    "fashion200k_task3": 14.0,
    "nights_task4": 34.0,
    "oven_task6": 40.0,
    "infoseek_task6": 30.0,
    "fashioniq_task7": 20.0,
    "cirr_task7": 50.0,
    "oven_task8": 60.0,
    "infoseek_task8": 40.0,
}
"""Means by hand: 750 / 16 = 46.875; single-modal 510 / 10 = 51; multi-modal 240 / 6 = 40."""
MBEIR_MEANS = {"avg_all": 46.875, "avg_single_modal": 51.0, "avg_multi_modal": 40.0}
EMOJI = {"emoji_task0": 4.0, "atlas_task1": 8.0, "emoji_task3": 6.0, "emoji_task7": 10.0}
EMOJI_MEANS = {"avg_all": 7.0, "avg_single_modal": 6.0, "avg_multi_modal": 10.0}


def headline(values, pool="global", n=10):
    """Scores at each task's own cut-off."""
    return [Score("headline", 5, v / 100, n, task, task.partition("_")[0].title(), pool) for task, v in values.items()]


def measured(metric, k, values, pool="global", n=10):
    """Scores of a metric."""
    return [Score(metric, k, v / 100, n, task, task.partition("_")[0].title(), pool) for task, v in values.items()]


def shifted(values, points):
    return {task: value + points for task, value in values.items()}


def write_evaluation(run_dir, stage, scores, *, seed=0, variant="main", **labels):
    """Write an evaluate stage: its stage.json and its scores."""
    folder = run_dir / f"seed{seed}/{variant}/{stage}"
    folder.mkdir(parents=True, exist_ok=True)
    labels = {"encoder": "NV-Embed", "instructions": "with", "split": "test", **labels}
    content = {"name": stage, "command": "evaluate", "arguments": {}, "labels": labels}
    (folder / "stage.json").write_text(json.dumps(content))
    write_scores(folder / "scores.jsonl", scores)
    return folder


def write_systems(run_dir, values, means, *, systems, seeds=(0, 1, 2)):
    """One evaluation a system and seed: seed 1 is a point above, seed 2 two; each system has a shift of its own."""
    for (model, encoder), shift in systems.items():
        for seed in seeds:
            scores = headline(shifted({**values, **means}, shift + seed))
            name = f"evaluate_{model}_{encoder}".lower().replace("-", "_")
            write_evaluation(run_dir, name, scores, seed=seed, model=model, encoder=encoder)
    return run_dir


class Written:
    """What `mmembed report --paper` wrote."""

    def __init__(self, out, stdout):
        self.out, self.stdout = out, stdout
        self.json = json.loads((out / "paper.json").read_text())
        self.markdown, self.page = (out / "paper.md").read_text(), (out / "index.html").read_text()

    def cell(self, table, row, column):
        """The one cell of a place; None where there is none."""
        place = (table, row, column)
        found = [cell for cell in self.json["cells"] if (cell["table"], cell["row"], cell["column"]) == place]
        assert len(found) <= 1
        return found[0] if found else None

    def numbers(self, table, row, column):
        """Ours, its deviation, the paper's and the difference, as shown."""
        cell = self.cell(table, row, column)
        shown = (cell[name] for name in ("ours", "sd", "paper", "difference"))
        return tuple(None if value is None else round(value, 1) for value in shown)


def paper(capsys, out, *run_dirs, numbers=(), options=()):
    """Run the command in this process."""
    flags = ["report", *map(str, run_dirs), "--paper", *map(str, numbers), *options, "--out", str(out)]
    capsys.readouterr()
    assert stages.main(flags) == 0
    return Written(out, capsys.readouterr().out)
