"""Running tasks of mteb one by one into one result file, resumable by task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.model import MtebRetriever
from lit_mmembed.evaluation.mteb.names import GROUPS, LOCAL, Group
from lit_mmembed.evaluation.scores import read_scores, write_scores
from lit_mmembed.record import run_record
from lit_mmembed.types import Score

METRICS = {"ndcg": "ndcg", "map": "map", "recall": "recall", "mrr": "mrr", "hit_rate": "hit"}
"""mteb's names -> ours. Its recall is true recall; M-BEIR's recall@k is its hit_rate and our hit."""
METRIC = re.compile(rf"({'|'.join(METRICS)})_at_(\d+)")
DECIDING = ("mteb", "weights_hash", "embedding", "task_revision", "splits")
"""What of a record decides a task's numbers."""
OF_ONE_TASK = ("task_revision", "prompt", "split", "subset")
OFFLINE = "download it once with a network, or put it into HF_HOME; or leave the task out"


def named_tasks(library: Any, names: Sequence[str], *, splits: Sequence[str] | None = None) -> list[Any]:
    """mteb's tasks of these names; "mteb15" and "mbeir" stand for their members.

    Raises:
        InputError: mteb has no such task, or it has none of the splits.
    """
    members = {group.name: group.members for group in GROUPS}
    wanted = dict.fromkeys(part for name in names for part in members.get(name, (name,)))
    tasks = []
    for name in wanted:
        try:
            task = library.get_task(name)
        except (KeyError, ValueError):
            fix = f"a name that mteb has, {', '.join(members)} or {LOCAL}"
            raise InputError(f"mteb has no task {name!r}", fix=fix) from None
        if splits:
            task = _with_splits(library, task, splits)
        tasks.append(task)
    return tasks


def evaluate_tasks(
    library: Any,
    model: MtebRetriever,
    tasks: Sequence[Any],
    out: Path,
    *,
    record: Mapping[str, Any] | None = None,
    keep_stores: bool = False,
) -> list[Score]:
    """Run tasks and write OUT/scores.jsonl; mteb's own result files go below OUT/results.

    A task that an earlier run finished with this model, under these settings, is not run again. Its stores are removed
    once it is scored.

    Args:
        library: What `load_mteb` returned.
        model: The model.
        tasks: Of mteb's registry, or of `local.in_memory_tasks`.
        out: The folder; the stores lie in it too.
        record: What produced the weights, and whatever else a result should say.
        keep_stores: Leave the stores where they are.

    Raises:
        InputError: the data of a task cannot be loaded; the model reads no images and a task has some.
    """
    _check_modalities(model, tasks)
    runner = _Runner(library, model, out, record=record or {}, keep_stores=keep_stores)
    scores = [score for task in tasks for score in runner.scores(task)]
    scores += [score for group in _groups(tasks) for score in averages(group, scores)]
    write_scores(out / "scores.jsonl", scores)
    return scores


def averages(group: Group, scores: Iterable[Score]) -> list[Score]:
    """Plain means over a group's tasks, "avg_mteb15"; none where a task is missing or has several splits.

    A metric at a cut-off that a member lacks has no mean: CQADupStack's parts are aggregated by mteb, in nDCG@10 only.
    """
    cells: dict[tuple[str, int], dict[str, Score]] = {}
    for score in scores:
        if score.task in group.members:
            cells.setdefault((score.metric, score.k), {})[score.task] = score
    rows = []
    for (metric, k), found in cells.items():
        if set(found) != set(group.members):
            continue
        value = float(np.mean([score.value for score in found.values()]))
        n = sum(score.n for score in found.values())
        kept = {name: value for name, value in next(iter(found.values())).record.items() if name not in OF_ONE_TASK}
        rows.append(Score(metric, k, value, n, f"avg_{group.name}", "all", "local", record=kept))
    return rows


class _Runner:
    """Runs tasks and keeps what they gave; `keep_stores` leaves the stores of a scored task."""

    def __init__(
        self, library: Any, model: MtebRetriever, out: Path, *, record: Mapping[str, Any], keep_stores: bool
    ) -> None:
        self.library, self.model, self.out, self.keep_stores = library, model, out, keep_stores
        self.cache = library.ResultCache(cache_path=out)
        settings = {"mteb": library.__version__, "weights_hash": model.weights, "embedding": model.settings}
        self.record = {**run_record(), **record, **settings}

    def scores(self, task: Any) -> list[Score]:
        """Of one task: read, where they are there, or made."""
        file = self.out / "tasks" / f"{task.metadata.name}.jsonl"
        splits = list(task.eval_splits)
        wanted = {**self.record, "task_revision": task.metadata.dataset["revision"], "splits": splits}
        if file.exists():
            scores = read_scores(file)
            if scores and _same(wanted, scores[0].record):
                return scores
        scores = self._aggregated(task, wanted) if _is_aggregate(task) else self._evaluated(task, wanted)
        write_scores(file, scores)
        if not self.keep_stores and not _is_aggregate(task):
            self.model.forget(task.metadata)
        return scores

    def _evaluated(self, task: Any, wanted: dict[str, Any]) -> list[Score]:
        _load(task)
        queries = _counts(task)
        try:
            result = self._run(task, "always")
        finally:
            task.unload_data()
        asked = self.model.prompts.of(task.metadata)
        wanted["prompt"] = {"source": asked.source, "instruction": asked.instruction}
        return _scores(task, result, wanted, queries)

    def _aggregated(self, task: Any, wanted: dict[str, Any]) -> list[Score]:
        parts = [self.scores(part) for part in task.metadata.tasks]
        counts = [scores[0].n for scores in parts]
        result = self._run(task, "only-missing")
        queries = {("default", split): sum(counts) for split in result.scores}
        return _scores(task, result, wanted, queries)

    def _run(self, task: Any, overwrite: str) -> Any:
        results = self.library.evaluate(
            self.model,
            task,
            cache=self.cache,
            overwrite_strategy=overwrite,
            co2_tracker=False,
            show_progress_bar=False,
            encode_kwargs={"batch_size": self.model.embedding.rows, "show_progress_bar": False},
        )
        return results.task_results[0]


def _scores(task: Any, result: Any, record: Mapping[str, Any], queries: Mapping[Any, int]) -> list[Score]:
    """mteb's result as lines of a result file: our five metrics at all of its cut-offs, or else its main score."""
    parts = [(split, part) for split, subsets in result.scores.items() for part in subsets]
    rows = []
    for split, part in parts:
        subset = part["hf_subset"]
        name = task.metadata.name if len(parts) == 1 else f"{task.metadata.name}/{split}/{subset}"
        what = {**record, "split": split, "subset": subset}
        n = queries[subset, split]
        found = {key: METRIC.fullmatch(key) for key in part}
        named = [(METRICS[match[1]], int(match[2]), part[key]) for key, match in found.items() if match]
        main = task.metadata.main_score
        if METRIC.fullmatch(main) is None:
            named.append((main, 0, part["main_score"]))
        local = getattr(task, "asked", None)
        dataset = local.task.dataset if local else task.metadata.name
        pool = getattr(task, "pool", "local")
        rows += [Score(metric, k, float(v), n, name, dataset, pool, record=what) for metric, k, v in named]
    return rows


def _load(task: Any) -> None:
    """Load a task's data; whatever a download raises is one line that names the task."""
    try:
        task.load_data()
        if hasattr(task, "convert_v1_dataset_format_to_v2"):
            task.convert_v1_dataset_format_to_v2(num_proc=None)
    except Exception as failed:
        reason = next(iter(str(failed).splitlines()), "") or type(failed).__name__
        problem = f"the data ({task.metadata.dataset['path']}) cannot be loaded: {reason}"
        raise InputError(problem, record=task.metadata.name, fix=OFFLINE) from failed


def _counts(task: Any) -> dict[tuple[str, str], int]:
    """Queries that are scored, by subset and split; of a task without queries: its rows."""
    parts = {subset: task.dataset.get(subset, task.dataset) for subset in task.hf_subsets}
    return {(subset, split): _queries(part) for subset, splits in parts.items() for split, part in splits.items()}


def _queries(part: Any) -> int:
    if isinstance(part, Mapping) and "relevant_docs" in part:
        return sum(bool(judged) for judged in part["relevant_docs"].values())
    return len(part)


def _with_splits(library: Any, task: Any, splits: Sequence[str]) -> Any:
    known = list(task.metadata.eval_splits)
    if unknown := [split for split in splits if split not in known]:
        fix = f"it has {', '.join(known)}"
        raise InputError(f"has no split {', '.join(unknown)}", record=task.metadata.name, fix=fix)
    return library.get_task(task.metadata.name, eval_splits=list(splits))


def _check_modalities(model: MtebRetriever, tasks: Sequence[Any]) -> None:
    for task in tasks:
        if missing := sorted(set(task.metadata.modalities) - set(model.modalities)):
            fix = "leave the task out, or take a model that reads them"
            raise InputError(f"the model reads no {', '.join(missing)}", record=task.metadata.name, fix=fix)


def _is_aggregate(task: Any) -> bool:
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    return isinstance(task, AbsTaskAggregate)


def _groups(tasks: Sequence[Any]) -> list[Group]:
    names = tuple(task.metadata.name for task in tasks if hasattr(task, "asked"))
    return [*GROUPS, Group(LOCAL, names)] if names else list(GROUPS)


def _same(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a finished task's record is of what is asked for; the commit and other versions may have changed."""
    return all(found.get(name) == wanted[name] for name in DECIDING)
