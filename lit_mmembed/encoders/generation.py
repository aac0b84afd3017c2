"""What generative training needs of a LLaVA-Next checkpoint: padded features of examples, and the forward of an answer.

transformers' own modules, padded batches: small models and short runs need no more.

Shapes: B examples, L tokens of the longest, D width, A tokens of all answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_mmembed.data.generation import KINDS, Example
from lit_mmembed.data.judging import FALSE, IMAGE, TRUE
from lit_mmembed.encoders.checkpoints import local_folder
from lit_mmembed.encoders.images import normalised
from lit_mmembed.encoders.llava_images import GlobalImage, image_input
from lit_mmembed.encoders.mllm_backbone import fast_tokenizer
from lit_mmembed.encoders.tokenizer import padded
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features

IGNORED = -100
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin")


class GenerationPreprocess:
    """Makes features of examples. Picklable.

    Features: `tokens` [B, L] int64, padded on the right, an image's placeholder as often as it has vectors; `labels`
    [B, L], IGNORED at the prompt and the padding; `kind` [B], the place in KINDS; `task` [B]; `true` [B] bool, the
    right answer of a judgement; and, where there are images, `pixels` [images, 3, S, S] uint8, in the order of their
    placeholders.
    """

    def __init__(self, tokenizer: Any, images: GlobalImage, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.images = images
        self.max_tokens = max_tokens

    def __call__(self, examples: Sequence[Example]) -> Features:
        """Tokenize and decode; an answer that does not fit is cut.

        Raises:
            InputError: a prompt is longer than the model's context, or an image is broken.
        """
        prompts = [self._prompt(example) for example in examples]
        answers = [self._answer(example, len(prompt)) for example, prompt in zip(examples, prompts, strict=True)]
        both = list(zip(prompts, answers, strict=True))
        features: Features = {
            "tokens": padded([[*prompt, *answer] for prompt, answer in both], self.tokenizer.pad_token_id),
            "labels": padded([[IGNORED] * len(prompt) + answer for prompt, answer in both], IGNORED),
            "kind": torch.tensor([KINDS.index(example.kind) for example in examples]),
            "task": torch.tensor([example.task for example in examples]),
            "true": torch.tensor([example.answer == TRUE for example in examples]),
        }
        encoded = [image for example in examples for image in example.prompt.images]
        if encoded:
            features["pixels"] = torch.cat([self.images(image).pixels for image in encoded])
        return features

    @property
    def answer_ids(self) -> tuple[int, int]:
        """The tokens that begin "True" and "False" after a prompt."""
        true, false = (self.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (TRUE, FALSE))
        return true, false

    def _prompt(self, example: Example) -> list[int]:
        text, images = example.prompt
        if text.count(IMAGE) != len(images):
            raise InputError(f"the text spells {IMAGE}", record=repr(text[:80]), fix="remove it from the text")
        copies = self.images.typical_tokens
        ids = [
            token
            for one in self.tokenizer(text)["input_ids"]
            for token in ([one] * copies if one == self.images.token_id else [one])
        ]
        if len(ids) >= self.max_tokens:
            problem = f"a prompt of {len(ids)} tokens leaves no room for an answer within {self.max_tokens}"
            raise InputError(problem, record=repr(text[:80]), fix="shorten the text, or raise max_tokens")
        return ids

    def _answer(self, example: Example, prompt: int) -> list[int]:
        ids = self.tokenizer(example.answer, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id][: self.max_tokens - prompt]


class Generator(torch.nn.Module):
    """A `LlavaNextForConditionalGeneration` in fp32 that is asked for the tokens of answers.

    Args:
        checkpoint: Folder or hub name with config.json, safetensors, tokenizer and preprocessor_config.json.
        max_tokens: Longest prompt with its answer.
    """

    def __init__(self, checkpoint: str | Path, *, max_tokens: int = 512) -> None:
        from transformers import LlavaNextForConditionalGeneration

        super().__init__()
        self.folder = local_folder(checkpoint)
        self.model: Any = LlavaNextForConditionalGeneration.from_pretrained(str(self.folder), dtype=torch.float32)
        self.model.train()
        config = self.model.config
        images = image_input(self.folder, config.vision_config, config.image_token_id, any_resolution=False)
        assert isinstance(images, GlobalImage)
        self.preprocess = GenerationPreprocess(fast_tokenizer(self.folder), images, max_tokens)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(images.transform, name))
            self.register_buffer(f"pixel_{name}", value, persistent=False)

    def forward(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits [A, vocabulary], targets [A], example [A]) of every token of every answer.

        Attention is causal and padding stands on the right, so it needs no mask.
        """
        tokens, labels = features["tokens"], features["labels"]
        language = self.model.model.language_model
        embedded = language.get_input_embeddings()(tokens)
        if "pixels" in features:
            place = (tokens == self.model.config.image_token_id).unsqueeze(-1)
            embedded = embedded.masked_scatter(place, self.image_tokens(features["pixels"]).to(embedded.dtype))
        hidden_BLD = language(inputs_embeds=embedded, use_cache=False).last_hidden_state
        example, position = torch.nonzero(labels[:, 1:] != IGNORED, as_tuple=True)
        return self.model.lm_head(hidden_BLD[example, position]), labels[example, position + 1], example

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Return the vectors [images * (patches + 1), D] of whole pictures: patches, then the newline."""
        body, config = self.model.model, self.model.config
        values = normalised(pixels, self.pixel_mean, self.pixel_std)  # type: ignore[arg-type]
        states = body.vision_tower(values, output_hidden_states=True).hidden_states[config.vision_feature_layer]
        patches = states[:, 1:] if config.vision_feature_select_strategy == "default" else states
        projected = body.multi_modal_projector(patches)
        newline = body.image_newline.expand(len(projected), 1, -1)
        return torch.cat([projected, newline], dim=1).flatten(0, 1)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into `folder` that transformers loads, with the tokenizer and processor it came with."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*WEIGHTS))
        self.model.save_pretrained(str(folder))
