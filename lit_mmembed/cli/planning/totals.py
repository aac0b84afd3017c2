"""Sums over stages: each fingerprint once, what is done or not planned left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lit_mmembed.cli.planning.recipes import Planned
from lit_mmembed.training.published import Need


class Total(NamedTuple):
    """What some stages cost together."""

    stages: int
    counted: int
    done: int
    same: int
    not_planned: int
    gpu_hours: float
    wall_hours: float
    """One stage after another."""
    disk: float
    """Bytes that are left at the end."""
    peak: float
    """Bytes at the fullest moment."""


def total(planned: Sequence[Planned]) -> Total:
    """Add up stages in the order in which they are run."""
    counted = [one.work for one in planned if one.counted and one.work is not None]
    disk = peak = 0.0
    for work in counted:
        peak = max(peak, disk + work.left + work.scratch)
        disk += work.left
    return Total(
        len(planned),
        len(counted),
        sum(one.done for one in planned),
        sum(bool(one.same) and not one.done for one in planned),
        sum(one.work is None and not one.same and not one.done for one in planned),
        sum(work.gpu_hours for work in counted),
        sum(work.wall_hours for work in counted),
        disk,
        peak,
    )


def needs(planned: Iterable[Planned]) -> list[Need]:
    """Return what must be fetched before, each thing once."""
    found: dict[str, Need] = {}
    for one in planned:
        if one.counted and one.work is not None:
            for need in one.work.needs:
                found.setdefault(need.name, need)
    return list(found.values())


def by_recipe(planned: Sequence[Planned]) -> dict[str, list[Planned]]:
    """Group stages by the recipe that has them."""
    groups: dict[str, list[Planned]] = {}
    for one in planned:
        groups.setdefault(one.recipe, []).append(one)
    return groups


def as_json(planned: Sequence[Planned]) -> dict[str, Any]:
    """Return every number: stages, recipes, the total, what must be fetched, and the plans of the fits."""
    return {
        "stages": [_stage(one) for one in planned],
        "recipes": {name: total(stages)._asdict() for name, stages in by_recipe(planned).items()},
        "total": total(planned)._asdict(),
        "needs": [need._asdict() for need in needs(planned)],
        "fits": {one.name: one.work.details for one in planned if one.work is not None and one.work.details},
    }


def _stage(one: Planned) -> dict[str, Any]:
    base = {
        "recipe": one.recipe,
        "stage": one.stage.name,
        "command": one.stage.command,
        "fingerprint": one.stage.fingerprint,
        "done": one.done,
        "same_as": one.same or None,
        "not_planned": one.why or None,
        "counted": one.counted,
    }
    work = one.work
    if work is None:
        return base
    return {
        **base,
        "gpu_hours": work.gpu_hours,
        "wall_hours": work.wall_hours,
        "gpus": work.gpus,
        "time": {name: span._asdict() for name, span in work.time.items()},
        "disk": dict(work.disk),
        "left": work.left,
        "scratch": work.scratch,
        "counts": dict(work.counts),
        "needs": [need.name for need in work.needs],
        "assumptions": list(work.assumptions),
        "warnings": list(work.warnings),
    }
