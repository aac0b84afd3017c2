"""Stages that differ in a few words: `each` writes a recipe's stage once for every combination of them.

    rerank:
      each: {model: [rand, hard], split: [val, test]}
      command: rerank
      arguments: {run: "${stage:evaluate_${each.model}_${each.split}}", split: "${each.split}", ...}

is the four stages rerank_rand_val, rerank_rand_test, rerank_hard_val and rerank_hard_test. A word may be a mapping,
whose `name` goes into the stage's name and whose other values are `${each.model.KEY}`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lit_mmembed.errors import InputError

EACH = re.compile(r"\$\{each\.([^}\s]+)\}")
WORD = re.compile(r"[\w.-]+")


def repeated(content: DictConfig, file: Path) -> DictConfig:
    """Return a recipe whose stages with `each` are written out.

    Args:
        content: The recipe, unresolved.
        file: For errors.

    Raises:
        InputError: `each` is no mapping of names to lists of words, a stage names something else, or two stages have
            one name.
    """
    if "stages" not in content:
        return content
    given: Any = OmegaConf.to_container(content, resolve=False)
    stages: dict[str, Any] = {}
    for name, stage in (given["stages"] or {}).items():
        for own, written in _written(str(name), stage, file):
            if own in stages:
                fix = "give one of them another name"
                raise InputError("two stages have this name", file=file, record=f"stage {own}", fix=fix)
            stages[own] = written
    return OmegaConf.create({**given, "stages": stages})


def _written(name: str, stage: Any, file: Path) -> Iterator[tuple[str, Any]]:
    """Yield a stage under its name, or what `each` makes of it."""
    if not isinstance(stage, Mapping) or "each" not in stage:
        yield name, stage
        return
    each, where = stage["each"], f"stage {name}"
    if not isinstance(each, Mapping) or not all(isinstance(words, list) and words for words in each.values()):
        raise InputError("`each` is not a mapping of names to lists", file=file, record=where, fix=EXAMPLE)
    rest = {key: value for key, value in stage.items() if key != "each"}
    for words in itertools.product(*each.values()):
        named = [str(word.get("name", "")) if isinstance(word, Mapping) else str(word) for word in words]
        if not all(WORD.fullmatch(word) for word in named):
            raise InputError(f"`each` names {named}, no words", file=file, record=where, fix=EXAMPLE)
        chosen = dict(zip(each, words, strict=True))
        yield "_".join((name, *named)), _filled(rest, chosen, file, where)


EXAMPLE = "each: {split: [val, test]}, or with mappings: each: {model: [{name: hard, label: M_hard}]}"


def _filled(value: Any, chosen: Mapping[str, Any], file: Path, where: str) -> Any:
    """Replace `${each.NAME}` and `${each.NAME.KEY}` everywhere; a value that is nothing else keeps its type."""
    if isinstance(value, Mapping):
        return {_filled(key, chosen, file, where): _filled(item, chosen, file, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, chosen, file, where) for item in value]
    if not isinstance(value, str):
        return value

    def meant(found: re.Match[str]) -> Any:
        name, _, key = found[1].partition(".")
        word = chosen.get(name)
        known = word if isinstance(word, Mapping) else {"": word}
        wanted = key or ("name" if isinstance(word, Mapping) else "")
        if name not in chosen or wanted not in known:
            raise InputError(f"there is no {found[0]}", file=file, record=where, fix=f"`each` has {dict(chosen)}")
        return known[wanted]

    whole = EACH.fullmatch(value)
    return meant(whole) if whole else EACH.sub(lambda found: str(meant(found)), value)
