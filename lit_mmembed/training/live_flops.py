"""FLOPs of a running step from the module's own weights: what `plan` counts from shapes, a little simpler.

Products with matrices count, attention's own do not: 2 % for LLaVA with one picture a row. So the MFU is a little low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

IMAGE_MODULES = {"vision_tower", "vision_model", "visual", "visual_projection", "multi_modal_projector"}
LATENT = "to_kv"
"""Of latent attention: keys and values are those of the latents, once a call, not of tokens."""


@dataclass(frozen=True)
class StepFlops:
    """Executed FLOPs per token of each stream."""

    token: float
    """Of what every token goes through; of a CLIP, its text tower."""
    image_token: float
    """Of the vision tower, besides (CLIP: instead of) the former."""
    replaces: bool
    """CLIP: an image's tokens do not go through the text tower."""

    @classmethod
    def of(cls, module: Any) -> StepFlops:
        """Count a RetrieverModule's encoder, every pass that is executed.

        Forward: two in a cached step, one more of the language model with gradient checkpointing, one of what is frozen
        before every trained weight (a vision tower). Backward: 2 x where weights are trained, 1 x where a gradient only
        passes.
        """
        passes = 2 if getattr(module, "chunk_tokens", None) is not None else 1
        again = passes + bool(getattr(module.encoder, "gradient_checkpointing", False))
        tokens = images = 0.0
        for name, layer in module.encoder.named_modules():
            weights, trained = matrix_weights(layer)
            if name.endswith(LATENT):
                continue
            if is_of_images(name):
                images += weights * 2 * (passes + 2 if trained else 1)
            else:
                tokens += weights * 2 * (again + (2 if trained else 1))
        return cls(tokens, images, not hasattr(getattr(module.encoder, "backbone", None), "language_model"))

    def __call__(self, tokens: float, image_tokens: float) -> float:
        """Return the FLOPs of some tokens, images expanded, and of the image tokens among them."""
        through = tokens - image_tokens if self.replaces else tokens
        return through * self.token + image_tokens * self.image_token


def computes_in(module: nn.Module, precision: str) -> str:
    """Return the precision that matrices are multiplied in: half where any weights are, else the trainer's."""
    half = any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters())
    return "16-true" if half else precision


def matrix_weights(layer: nn.Module) -> tuple[int, bool]:
    """Return the weights that a layer multiplies each token by, its children's left out, and whether they are trained.

    A linear layer, a convolution (the patch embedding) and torch's own attention have such; an embedding is looked up.
    """
    found = [getattr(layer, name, None) for name in ("weight", "in_proj_weight")]
    if isinstance(layer, nn.Embedding):
        return 0, False
    matrices = [weight for weight in found if isinstance(weight, nn.Parameter) and weight.ndim >= 2]
    return sum(weight.numel() for weight in matrices), any(weight.requires_grad for weight in matrices)


def is_of_images(name: str) -> bool:
    """Say whether a module only sees images: a vision tower (transformers', open_clip's) or its projector."""
    return not IMAGE_MODULES.isdisjoint(name.split("."))
