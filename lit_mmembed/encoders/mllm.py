"""A multimodal LLM as a bi-encoder: backbone, attention, prompt style, pooling and adapters, each of them an argument.

LLaVA-E       LlavaNextBackbone     causal          EosPrompts      EosPooling
LLaVA-P       LlavaNextBackbone     causal          OneWordPrompts  LastTokenPooling
NV-Embed-v1   NvEmbedLlavaBackbone  bidirectional   EosPrompts      LatentAttentionPooling, instruction masked
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.encoders.adapters import Lora, add_lora, is_adapter, merge_lora
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.fused import fuse_norms
from lit_mmembed.encoders.mllm_backbone import MllmBackbone
from lit_mmembed.encoders.mllm_preprocess import InstructionMask, MllmPreprocess, select_rows
from lit_mmembed.encoders.packing import Packing
from lit_mmembed.encoders.pooling import EosPooling, Pooling
from lit_mmembed.encoders.pretrained import described, referenced
from lit_mmembed.encoders.prompts import EosPrompts, PromptStyle
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features, Side

Trained = Literal["lora", "projector", "language_model", "pooling"]


class MllmEncoder(Encoder):
    """Embeds rows of text, image or both by one pass through a multimodal LLM.

    Args:
        backbone: The model, e.g. `lit_mmembed.encoders.llava_next.LlavaNextBackbone`.
        pooling: How a row's hidden states become its vector.
        attention: `causal`, or `bidirectional` as NV-Embed's.
        prompts: How a row becomes a prompt.
        instruction_mask: Which tokens pooling leaves out; see `MllmPreprocess`.
        query_length: Tokens of a query at most; an image counts as one (appendix A.1).
        candidate_length: The same of a document.
        lora: Adapters on the language model; None for none.
        trained: What is trained. The paper trains adapters and projector; the vision tower is always frozen.
        gradient_checkpointing: Keep one hidden state per layer and compute the rest again in the backward pass.
    """

    def __init__(
        self,
        backbone: MllmBackbone,
        *,
        pooling: Pooling | None = None,
        attention: Literal["causal", "bidirectional"] = "causal",
        prompts: PromptStyle | None = None,
        instruction_mask: InstructionMask = "none",
        query_length: int = 128,
        candidate_length: int = 128,
        lora: Lora | None = None,
        trained: Sequence[Trained] = ("lora", "projector"),
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling or EosPooling()
        self.attention = attention
        self.prompts = prompts or EosPrompts()
        if self.pooling.needs_eos and not self.prompts.append_eos:
            fix = "take prompts that end with it (EosPrompts), or LastTokenPooling"
            raise InputError("the pooling needs an end-of-sequence token, the prompts have none", fix=fix)
        self.dimension = backbone.width
        self.trained = tuple(trained)
        self.lora = Lora(**lora) if isinstance(lora, dict) else lora
        self.gradient_checkpointing = gradient_checkpointing
        self.preprocess: MllmPreprocess = MllmPreprocess(
            backbone.tokenizer,
            backbone.images,
            self.prompts,
            query_length=query_length,
            candidate_length=candidate_length,
            instruction_mask=instruction_mask,
        )
        fuse_norms(backbone.language_model)
        if self.lora:
            add_lora(backbone.language_model, self.lora)
        self._set_trainable()
        if gradient_checkpointing:
            options = {"use_reentrant": False}
            backbone.language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)  # type: ignore[operator]

    def forward(self, features: Features) -> Tensor:
        """Return unit vectors [n, dimension], fp32."""
        features = self.frozen_part(features)
        lengths = features["lengths"].long()
        packing = Packing(lengths, self.attention == "causal", int(lengths.max()))
        embedded = self._embedded(features)
        if self.training and torch.is_grad_enabled() and not embedded.requires_grad:
            embedded.requires_grad_()  # FSDP2 reduces a layer's gradients where its input's appears: in every process
        hidden = self.backbone.language_model(
            inputs_embeds=embedded.unsqueeze(0),
            position_ids=self.backbone.positions(features, packing),
            use_cache=False,
            packing=packing,
        )
        vectors = self.pooling(hidden.last_hidden_state[0], packing, features["counts"])
        return F.normalize(vectors.float() + self._idle(features), dim=-1)

    def frozen_part(self, features: Features) -> Features:
        """Put the frozen vision tower's features in the place of pixels: a cached step computes them once."""
        if "pixels" not in features:
            return features
        with torch.no_grad():
            vision = self.backbone.vision(features)
        return {**{name: tensor for name, tensor in features.items() if name != "pixels"}, "vision": vision}

    def costs(self, features: Features) -> Tensor:
        """Return the tokens of each row [n], images expanded."""
        return features["lengths"].long()

    def select(self, features: Features, rows: Tensor) -> Features:
        """Return the features of some rows."""
        return select_rows(features, rows)

    def blocks(self) -> list[nn.Module]:
        """Return the language model's layers."""
        return list(self.backbone.language_model.layers)  # type: ignore[arg-type]

    def own_names(self) -> set[str] | None:
        """Return what a model folder keeps beside a reference to the checkpoint: what is trained. None: everything."""
        if not self.backbone.from_checkpoint:
            return None
        own = {name for name, parameter in self.named_parameters() if parameter.requires_grad or is_adapter(name)}
        if not self.pooling.from_checkpoint:
            own |= {f"pooling.{name}" for name in self.pooling.state_dict()}
        return own

    def merge(self) -> None:
        """Add the adapters to the weights, in place: the encoder is whole from then on, nothing in it is trained."""
        if self.lora:
            merge_lora(self.backbone.language_model)
        self.lora = None
        self.trained = ()
        self.backbone.from_checkpoint = self.pooling.from_checkpoint = False
        self._set_trainable()

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return all arguments; the backbone's name its checkpoint, or `folder` where the weights are kept whole."""
        whole = not self.backbone.from_checkpoint
        backbone = self.backbone.init_args(folder) if whole else referenced(self.backbone.source_args(), folder)
        return {
            "backbone": described(self.backbone, backbone),
            "pooling": described(self.pooling, referenced(self.pooling.init_args(), folder)),
            "attention": self.attention,
            "prompts": described(self.prompts, self.prompts.init_args(folder)),
            "instruction_mask": self.preprocess.instruction_mask,
            "query_length": self.preprocess.limit[Side.QUERY],
            "candidate_length": self.preprocess.limit[Side.CANDIDATE],
            "lora": {**vars(self.lora), "targets": list(self.lora.targets)} if self.lora else None,
            "trained": list(self.trained),
            "gradient_checkpointing": self.gradient_checkpointing,
        }

    def _embedded(self, features: Features) -> Tensor:
        tokens = features["tokens"]
        if "vision" not in features:
            return self.backbone.embed(tokens, torch.zeros_like(tokens, dtype=torch.bool))
        assert self.backbone.images is not None
        places = tokens == self.backbone.images.token_id
        embedded = self.backbone.embed(tokens, places)
        images = self.backbone.project(features["vision"], features).to(embedded.dtype)
        return embedded.index_copy(0, places.nonzero().flatten(), images)

    def _idle(self, features: Features) -> Tensor | float:
        """Return a zero that depends on a projector which this batch does not use: DDP waits for its gradient."""
        projector = self.backbone.projector()
        if projector is None or "vision" in features or not (self.training and torch.is_grad_enabled()):
            return 0.0
        return sum((p.sum() * 0.0 for p in projector.parameters() if p.requires_grad), start=0.0)

    def _set_trainable(self) -> None:
        self.requires_grad_(False)
        parts: dict[str, nn.Module | None] = {
            "language_model": self.backbone.language_model,
            "projector": self.backbone.projector(),
            "pooling": self.pooling,
        }
        for name, part in parts.items():
            if name in self.trained and part is not None:
                part.requires_grad_(True)
                part.float()
        for name, parameter in self.backbone.language_model.named_parameters():
            if is_adapter(name):
                parameter.requires_grad_("lora" in self.trained)
