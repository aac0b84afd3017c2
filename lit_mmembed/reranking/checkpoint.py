"""What a reranker reads of a checkpoint beside its body: two rows of the head, a chat template, the questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lit_mmembed.data.judging import REPRESENTATIVE, judging_template
from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.encoders.checkpoints import Checkpoint, config_of, local_folder
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

HEAD, EMBEDDING = "lm_head.weight", "language_model.embed_tokens.weight"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def head_rows(source: str | Path, tokens: Sequence[int]) -> Tensor:
    """Return the rows [len(tokens), D] fp32 of the output head: the input embedding's where both are tied.

    Raises:
        InputError: the checkpoint has no head (an embedding model), or no such row.
    """
    checkpoint = Checkpoint(source)
    names = checkpoint.names()
    config = config_of(source)
    tied = config.get("tie_word_embeddings") or config.get("text_config", {}).get("tie_word_embeddings")
    name = names.get(HEAD) or (names.get(EMBEDDING) if tied else None)
    if name is None:
        fix = "take a checkpoint that writes text; one of `mmembed merge --checkpoint` only embeds"
        raise InputError("has no output head", file=checkpoint.folder, fix=fix)
    ((_, weight),) = checkpoint.tensors([name])
    if max(tokens) >= len(weight):
        raise InputError(f"the head has no row {max(tokens)}", file=checkpoint.folder, fix="take its own tokenizer")
    return weight[torch.tensor(list(tokens))].float()


def checkpoint_template(source: str | Path) -> str | None:
    """Return the chat template that lies beside a checkpoint, if one does; the tokenizer may have its own."""
    folder = local_folder(source)
    jinja, older = (folder / name for name in TEMPLATE_FILES)
    if jinja.exists():
        return jinja.read_text(encoding="utf-8")
    return str(read_json(older)["chat_template"]) if older.exists() else None


def question_wordings() -> list[str]:
    """Return a question of each of Table 13's templates, without images: where the answers are resolved."""
    found = []
    for task in MBEIR_TASKS:
        text = judging_template(task)
        for name, word in (("q_txt", "two cats"), ("c_txt", "A cat."), ("q_img", ""), ("c_img", "")):
            text = text.replace(f"{{{name}}}", word)
        found.append(text.lstrip("\n"))
    assert len(found) >= len(REPRESENTATIVE)
    return list(dict.fromkeys(found))
