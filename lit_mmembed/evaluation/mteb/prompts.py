"""Which instruction a task's queries carry: the paper's, mteb's own, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from lit_mmembed.data.instructions import MBEIR_INSTRUCTIONS, Instructions
from lit_mmembed.encoders.prompts import paper_prompts
from lit_mmembed.evaluation.mteb.names import paper_task
from lit_mmembed.types import Task

log = logging.getLogger(__name__)


class Policy(StrEnum):
    """Where instructions come from; it is written into every result."""

    PAPER = "paper"
    """Table 11's and M-BEIR's first wording (Table 12's prompts for one-word styles); mteb's for tasks of neither."""
    MTEB = "mteb"
    """The task's own prompt in mteb."""
    NONE = "none"
    """No instruction."""


class Asked(NamedTuple):
    """What a task's queries are embedded with."""

    instruction: str | None
    task: Task | None
    """For prompts that depend on the task (Table 12)."""
    source: str
    """"paper", "mbeir", "local", "mteb" or "none"."""


class Prompts:
    """The policy, and the tasks that are neither mteb's nor the paper's.

    Args:
        policy: See `Policy`.
        local: By name, the tasks of a data directory.
    """

    def __init__(self, policy: Policy | str = Policy.PAPER, *, local: Mapping[str, Asked] | None = None) -> None:
        self.policy = Policy(policy)
        self.local = dict(local or {})
        self._told: set[str] = set()

    def of(self, metadata: Any) -> Asked:
        """What the queries of a task (mteb's TaskMetadata) are embedded with."""
        if self.policy is Policy.NONE:
            return Asked(None, None, "none")
        if self.policy is Policy.PAPER:
            found = self.local.get(metadata.name) or _of_paper(metadata.name)
            if found is not None:
                return found
        prompt = _own_prompt(metadata)
        if prompt is None and metadata.name not in self._told:
            self._told.add(metadata.name)
            log.warning("mteb has no prompt for %s: its queries carry no instruction", metadata.name)
        return Asked(prompt, None, "none" if prompt is None else "mteb")


def _of_paper(name: str) -> Asked | None:
    task = paper_task(name)
    if task is None:
        return None
    if task.paper_id == 9:
        return Asked(paper_prompts()["eos"]["instructions"][task.label], task, "paper")
    return Asked(_mbeir().wordings(task)[0], task, "mbeir")


@cache
def _mbeir() -> Instructions:
    return Instructions.load(MBEIR_INSTRUCTIONS)


def _own_prompt(metadata: Any) -> str | None:
    """mteb's prompt: one string, or one for queries and another for documents (ours carry none)."""
    prompt = metadata.prompt
    if isinstance(prompt, Mapping):
        prompt = prompt.get("query")
    return str(prompt) if prompt else None
