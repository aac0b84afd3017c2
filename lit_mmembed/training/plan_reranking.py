"""What questions to a multimodal LLM cost: Table 13's prompts, what a query's begin with once (docs/reranking.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_mmembed.data.judging import judging_template
from lit_mmembed.encoders import shapes
from lit_mmembed.encoders.costs import Part, Rows, adapters
from lit_mmembed.training.planned_encoder import FULL, HALF, LINEAR, TILES
from lit_mmembed.training.splits import Asked
from lit_mmembed.training.workload import CHARACTERS_PER_TOKEN

CHAT_TOKENS = {"none": 0, "llava_mistral": 9, "checkpoint": 12}
"""Of the chat template around a question: `[INST]` and `[/INST]`, or a system line and turns."""
START = 1
"""The token that begins every prompt."""


@dataclass(frozen=True)
class Answerer:
    """A LLaVA-Next checkpoint that answers."""

    parts: dict[str, Part]
    image_tokens: int
    """Of an image in the language model."""
    patches: int
    tiles: int
    value_bytes: int
    """Of a weight."""

    @property
    def body(self) -> Part:
        """The language model."""
        return self.parts["language model"]

    @property
    def head(self) -> float:
        """Weights of the output head, of which two rows are applied."""
        assert self.body.blocks is not None
        return self.body.other - self.body.blocks.width

    @property
    def size(self) -> float:
        """Bytes of the checkpoint as it is held."""
        return (sum(part.parameters for part in self.parts.values()) + self.head) * self.value_bytes


@dataclass(frozen=True)
class Question:
    """Tokens of a question, images expanded: what all of a query's begin with, and the rest."""

    prefix: int
    suffix: int
    prefix_images: int
    suffix_images: int

    def tokens(self, k: int) -> int:
        """Tokens that the linear layers see of k questions: P + k S."""
        return self.prefix + k * self.suffix


def answerer(source: str, *, any_resolution: bool, dtype: str) -> Answerer:
    """Read the shapes of a checkpoint; InputError where they are not known or it is no LLaVA-Next."""
    tower = shapes.image_tower(source)
    tiles = TILES if any_resolution else 1
    tokens = TILES * tower.patches if any_resolution else tower.patches + 1
    value_bytes = FULL if dtype.startswith(("float32", "32")) else HALF
    return Answerer(shapes.llava(source, attention="causal"), tokens, tower.patches + 1, tiles, value_bytes)


def question(asked: Asked, model: Answerer, template: str = "none", document_tokens: int | None = None) -> Question:
    """Return the tokens of a task's question, four characters of the template a token.

    Args:
        asked: The task with the lengths of its texts.
        model: Who answers.
        template: The chat template.
        document_tokens: What documents' texts are cut to.

    Raises:
        InputError: Table 13 has no question for this task.
    """
    words = judging_template(asked.task)
    place = min((words.find(name) for name in ("{c_img}", "{c_txt}") if name in words), default=len(words))
    chat = CHAT_TOKENS.get(template, 0)
    document = min(asked.document_text, document_tokens or asked.document_text)
    first, first_images = _stretch(words[:place], asked.query_text, document, model)
    rest, rest_images = _stretch(words[place:], asked.query_text, document, model)
    return Question(START + first + chat // 2, rest + chat - chat // 2, first_images, rest_images)


def asking_flops(asked: Asked, one: Question, model: Answerer, *, k: int, budget: int) -> float:
    """Count the FLOPs of asking about the best k documents of each query of a task.

    Args:
        asked: The task.
        one: Its question.
        model: Who answers.
        k: Documents of each query.
        budget: Tokens of a pass: a query whose questions are more has its prefix in each of several.
    """
    per_pass = max(1, (budget - one.prefix) // max(one.suffix, 1))
    passes = -(-k // per_pass)
    images = passes * one.prefix_images + k * one.suffix_images
    return asked.queries * (_body(model, one, passes, k) + _pictures(model, images))


def learning_flops(one: Question, model: Answerer, *, questions: int, lora: Mapping[str, Any] | None) -> float:
    """Count the FLOPs of a list in training: forward, and backward through the language model."""
    assert model.body.blocks is not None
    images = one.prefix_images + questions * one.suffix_images
    forward = _body(model, one, 1, questions)
    passes = 2 if lora is None else 1
    added = 0.0
    if lora is not None:
        part = adapters(model.body.blocks, int(lora.get("r", 8)), lora.get("targets", LINEAR))
        added = 3 * part.forward([Rows(1, one.tokens(questions))]).linear
    return (
        forward * (1 + passes) + _attention(model, one, 1, questions) * (2 - passes) + _pictures(model, images) + added
    )


def trained_weights(model: Answerer, *, lora: Mapping[str, Any] | None, projector: bool) -> float:
    """Count the weights that a reranker's training changes."""
    assert model.body.blocks is not None
    if lora is None:
        own = float(model.body.blocks.parameters)
    else:
        own = adapters(model.body.blocks, int(lora.get("r", 8)), lora.get("targets", LINEAR)).parameters
    return own + (model.parts["projector"].parameters if projector else 0)


def _stretch(words: str, query: int, document: int, model: Answerer) -> tuple[int, int]:
    """Return tokens and images of a part of a template."""
    images = words.count("_img}")
    texts = words.count("{q_txt}") * query + words.count("{c_txt}") * document
    for name in ("{q_txt}", "{c_txt}", "{q_img}", "{c_img}"):
        words = words.replace(name, "")
    return round(len(words) / CHARACTERS_PER_TOKEN) + texts + images * model.image_tokens, images


def _body(model: Answerer, one: Question, passes: int, k: int) -> float:
    linear = model.body.forward([Rows(1, passes * one.prefix + k * one.suffix)]).linear
    return linear + _attention(model, one, passes, k)


def _attention(model: Answerer, one: Question, passes: int, k: int) -> float:
    """A suffix sees the prefix and itself: what the whole prompt costs, less what the prefix did."""
    assert model.body.blocks is not None
    start = model.body.blocks.attention_flops(one.prefix)
    return passes * start + k * (model.body.blocks.attention_flops(one.prefix + one.suffix) - start)


def _pictures(model: Answerer, images: float) -> float:
    seen = model.parts["vision tower"].forward([Rows(images * model.tiles, model.patches)]).total
    return seen + model.parts["projector"].forward([Rows(images, model.image_tokens)]).total
