"""The Python in README.md runs as it stands, but for the model's path; the commands of its table of features parse."""

from __future__ import annotations

import re
import shlex

import pytest
import torch

from lit_mmembed.cli.arguments import parser
from lit_mmembed.cli.loading import load
from lit_mmembed.encoders.pretrained import save_encoder
from tests.encoders.small import own_small
from tests.tiny import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_retriever_of_the_readme_ranks_its_pool(tmp_path, capsys):
    (block,) = [block for block in BLOCKS if "from_pretrained" in block]
    torch.manual_seed(0)
    save_encoder(own_small(tmp_path), tmp_path / "model")
    block, swapped = re.subn(r'from_pretrained\(".*?"\)', f"from_pretrained({str(tmp_path / 'model')!r})", block)
    assert swapped == 1
    exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert len(lines) == 3 and scores == sorted(scores, reverse=True)
    assert sum("A red square." in line for line in lines) == 1


ROWS = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What there is")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"`((?:mmembed|make|pytest) .*?)`", ROWS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_table_of_features_is_one(command, from_root):
    program, *words = shlex.split(command)
    if program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text()
    elif program == "pytest":
        assert (ROOT / words[0]).exists()
    else:
        flags = parser().parse_args(words)
        recipes = [flags.recipe] if flags.stage == "run" else flags.recipe if flags.stage == "plan" else []
        assert all(load(ROOT / recipe).name for recipe in recipes)


def test_the_table_of_features_has_a_row_for_everything_that_the_paper_has():
    features = ["four retrievers", "both stages", "both kinds of hard negatives", "continual stage", "instructions"]
    features += [
        "curricula",
        "16 tasks",
        "global and local pools",
        "modality accuracy",
        "MTEB's 15",
        "CIRCO",
        "reranking",
    ]
    first = "\n".join(line.split("|")[1] for line in ROWS.splitlines() if line.startswith("| "))
    assert [feature for feature in features if feature not in first] == []
