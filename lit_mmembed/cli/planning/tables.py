"""A recipe's plan as text: a line for each stage, the recipes, the sum, what must be there before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lit_mmembed.cli.planning.lines import hours, size
from lit_mmembed.cli.planning.recipes import Planned
from lit_mmembed.cli.planning.totals import Total, by_recipe, needs, total
from lit_mmembed.training.planned_fit import Machine

STAGE = "  {:<30} {:<12} {:>10} {:>10} {:>5} {:>11}  {}"
RECIPE = "  {:<30} {:>7} {:>12} {:>12} {:>11} {:>11}"


def stage_lines(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield a table of stages for each recipe."""
    for recipe, stages in by_recipe(planned).items():
        yield recipe
        yield STAGE.format("stage", "command", "GPU-hours", "takes", "GPUs", "leaves", "").rstrip()
        for one in stages:
            yield _stage_line(one).rstrip()
        yield ""


def total_lines(groups: Mapping[str, Sequence[Planned]], planned: Sequence[Planned], machine: Machine) -> Iterator[str]:
    """Yield the table of recipes, the sum, and what must be there before.

    Args:
        groups: What the lines of the table are about.
        planned: All stages, equal ones once.
        machine: Where they run.
    """
    yield RECIPE.format("recipe", "stages", "GPU-hours", f"on {_gpus(machine)}", "disk", "fullest")
    for name, stages in groups.items():
        yield _recipe_line(name, total(stages))
    whole = total(planned)
    if len(groups) > 1:
        yield _recipe_line("all", whole)
    yield from _left_out(whole)
    if found := needs(planned):
        yield f"  needed before: {size(sum(need.size for need in found))}"
        yield from (f"    {size(need.size):>11}  {need.name} ({need.source})" for need in found)


def notes(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield warnings with their stages, and each assumption once."""
    counted = [one for one in planned if one.counted and one.work is not None]
    for one in counted:
        yield from (f"  WARNING      {one.name}: {text}" for text in one.work.warnings)  # type: ignore[union-attr]
    assumed = dict.fromkeys(text for one in counted for text in one.work.assumptions)  # type: ignore[union-attr]
    yield from (f"  assumed      {text}" for text in assumed)


def _stage_line(one: Planned) -> str:
    names = (one.stage.name, one.stage.command)
    if one.done:
        return STAGE.format(*names, "done", "", "", "", "")
    if one.same:
        return STAGE.format(*names, "", "", "", "", f"the same as {one.same}")
    if one.work is None:
        return STAGE.format(*names, "?", "", "", "?", f"not planned: {one.why}")
    work = one.work
    meanwhile = f"and {size(work.scratch)} meanwhile" if work.scratch else ""
    if not work.gpu_hours:
        return STAGE.format(*names, "-", "", "", _left(work.left), meanwhile)
    time = (f"{work.gpu_hours:,.2f}" if work.gpu_hours >= 0.005 else "< 0.01", _took(work.wall_hours), work.gpus)
    return STAGE.format(*names, *time, _left(work.left), meanwhile)


def _recipe_line(name: str, found: Total) -> str:
    more = ">= " if found.not_planned else ""
    time = (f"{more}{found.gpu_hours:,.1f}", more + _took(found.wall_hours))
    return RECIPE.format(name, found.stages, *time, more + size(found.disk), more + size(found.peak))


def _left_out(found: Total) -> Iterator[str]:
    if found.same:
        yield f"  {found.same} of {found.stages} stages are the same as others: counted once"
    if found.done:
        yield f"  {found.done} are done: nothing is left to do for them"
    if found.not_planned:
        yield f"  at least: {found.not_planned} are not planned and not in the sum"


def _gpus(machine: Machine) -> str:
    return f"{machine.gpus} {machine.device.name}"


def _took(number: float) -> str:
    """Write hours, also very few of them."""
    return hours(number) if number >= 1 / 60 else f"{number * 3600:.0f} s"


def _left(number: float) -> str:
    return size(number) if number >= 1 << 20 else "-"
