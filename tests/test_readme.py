"""The Python in README.md runs as it stands, but for the model's path."""

from __future__ import annotations

import re

import torch

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
