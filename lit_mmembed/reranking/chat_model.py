"""Any chat model of transformers that takes images and texts: its own processor and forward, one question at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lit_mmembed.data.judging import IMAGE, Prompt
from lit_mmembed.encoders.checkpoints import local_folder
from lit_mmembed.encoders.images import decoded
from lit_mmembed.encoders.mllm_backbone import DTYPES, DType
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.checkpoint import checkpoint_template, question_wordings
from lit_mmembed.reranking.prompts import Questions, TemplateName, chat_template
from lit_mmembed.reranking.true_false import answers_of


@dataclass(frozen=True)
class ChatPrompts:
    """The inputs of one query's questions."""

    inputs: tuple[dict[str, Any], ...]

    @property
    def tokens(self) -> int:
        """Tokens of all questions."""
        return sum(int(one["input_ids"].shape[1]) for one in self.inputs)


class ChatModelReranker(nn.Module):
    """A model of `AutoModelForImageTextToText`: the general and slow path, nothing is shared between questions.

    Args:
        checkpoint: Folder or hub name.
        template: The chat template. `checkpoint` gives the images to the template in their order, and the texts
            between them without the line breaks beside an image: templates set images apart themselves.
        dtype: Of the weights.
        max_tokens: Longest prompt.

    Raises:
        InputError: transformers can't load it, or its tokenizer lacks the two answers.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        template: TemplateName = "checkpoint",
        dtype: DType = "float32",
        max_tokens: int | None = None,
    ) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        super().__init__()
        folder = str(local_folder(checkpoint))
        try:
            self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=DTYPES[dtype])
            self.processor: Any = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as unfit:
            problem = f"is no chat model of transformers: {str(unfit).splitlines()[0]}"
            raise InputError(problem, file=checkpoint, fix="name a model of images and texts") from None
        self.tokenizer = self.processor.tokenizer
        self.source = getattr(self.processor, "chat_template", None) or checkpoint_template(checkpoint)
        self.template = chat_template(template, self.tokenizer, self.source)
        self.answers = answers_of(self.tokenizer, self.template, question_wordings())
        self.max_tokens = max_tokens
        self._asked = {"template": template, "dtype": dtype}
        takes = inspect.signature(self.model.forward).parameters
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def prepare(self, questions: Questions) -> ChatPrompts:
        """Make the processor's inputs of every question."""
        record = f"query {questions.query_id}"
        return ChatPrompts(tuple(self._inputs(prompt, record) for prompt in questions.prompts))

    @torch.no_grad()
    def margins(self, prepared: Sequence[ChatPrompts]) -> list[np.ndarray]:
        """Return for each query the logits of "True" minus those of "False" [documents] float32."""
        return [np.array([self._margin(inputs) for inputs in one.inputs], dtype=np.float32) for one in prepared]

    def record(self) -> dict[str, Any]:
        """Return the weights' hash, the template and the answers' ids."""
        weights = weights_hash(self.model)
        return {"scorer": type(self).__name__, **self._asked, "answers": self.answers.record(), "weights": weights}

    def _margin(self, inputs: dict[str, Any]) -> float:
        device = self.model.device
        held = {name: tensor.to(device) for name, tensor in inputs.items()}
        logits = self.model(**held, **self._last).logits[0, -1].float()
        return float(logits[self.answers.true] - logits[self.answers.false])

    def _inputs(self, prompt: Prompt, record: str) -> dict[str, Any]:
        if prompt.text.count(IMAGE) != len(prompt.images):
            raise InputError(f"the text spells {IMAGE}", record=record, fix="remove it from the text")
        pictures = [decoded(image, lambda made: made.convert("RGB"), record=record) for image in prompt.images]  # type: ignore[arg-type,return-value]
        text = self._text(prompt)
        start = self.tokenizer.bos_token
        made = self.processor(
            text=[text],
            images=pictures or None,
            return_tensors="pt",
            add_special_tokens=not (start and text.startswith(start)),
        )
        inputs = dict(made)
        if self.answers.lead:
            lead = torch.tensor([self.answers.lead])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], lead], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        length = inputs["input_ids"].shape[1]
        if self.max_tokens and length > self.max_tokens:
            problem = f"a prompt of {length} tokens is longer than {self.max_tokens}"
            raise InputError(problem, record=record, fix="lower --document-tokens, or raise --max-tokens")
        return inputs

    def _text(self, prompt: Prompt) -> str:
        if self.template.name != "checkpoint" or not prompt.images:
            spelled = getattr(self.processor, "image_token", IMAGE)
            return self.template.render(prompt.text.replace(IMAGE, spelled))
        content: list[dict[str, str]] = []
        for place, text in enumerate(prompt.text.split(IMAGE)):
            content += [{"type": "image"}] if place else []
            content += [{"type": "text", "text": text.strip("\n")}] if text.strip("\n") else []
        messages = [{"role": "user", "content": content}]
        made = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(made)
