"""What an encoder costs, from its shapes alone: parameters, FLOPs, bytes. Arithmetic; nothing is built.

The formulas, with T tokens of n rows of L tokens, w width, H heads of width d, K key/value heads, i inner width:

    matrices of a block   w d (2 H + 2 K) + m w i       m = 3 for a gated MLP (gate, up, down), 2 for a plain one
    forward of a block    2 x matrices x T  +  4 L^2 H d a row (scores and mixing; half of it where attention is causal)
    backward              2 x forward where weights are trained, 1 x where they are frozen and only the gradient with
                          respect to the activations passes through; attention's products 2 x in both cases

Norms, activations, softmax and the update itself are left out: below one percent at these widths.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Reads = Literal["patches", "image_tokens", "tokens", "texts"]
"""Which stream a part reads: `patches` a tile of the vision tower is a row; `image_tokens` what the language model gets
of images; `tokens` whole rows, images expanded; `texts` the text alone (CLIP)."""

FP32 = 4
"""Bytes of a value."""


@dataclass(frozen=True)
class Blocks:
    """A stack of equal transformer blocks."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    intermediate: int
    mlp_matrices: int
    """3 with a gate, 2 without."""
    vectors: int
    """Parameters of a block that are no matrix: norms and biases."""
    causal: bool = False
    unused: int = 0
    """Layers at the end that are never run: LLaVA takes the last but one."""

    @property
    def run(self) -> int:
        """Layers that are run."""
        return self.layers - self.unused

    @property
    def block_matrices(self) -> int:
        """Weights of one block that every token is multiplied by."""
        attention = self.width * self.head_width * 2 * (self.heads + self.kv_heads)
        return attention + self.mlp_matrices * self.width * self.intermediate

    @property
    def parameters(self) -> int:
        """All weights of the stack."""
        return self.layers * (self.block_matrices + self.vectors)

    def attention_flops(self, length: int) -> int:
        """FLOPs of scores and mixing of one row, all layers, forward."""
        whole = 4 * length * length * self.heads * self.head_width * self.run
        return whole // 2 if self.causal else whole

    def lora_parameters(self, rank: int, targets: Iterable[str]) -> int:
        """Weights of adapters of a rank on the named linear layers of a gated block."""
        own, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        sides = {"q_proj": own, "k_proj": shared, "v_proj": shared, "o_proj": own}
        sides |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self.intermediate)
        return self.layers * rank * sum(self.width + sides[target] for target in targets)


@dataclass(frozen=True)
class Part:
    """A part of an encoder: blocks, other matrices, and what is only looked up or added."""

    name: str
    reads: Reads
    blocks: Blocks | None = None
    matrices: int = 0
    """Weights outside the blocks that every token of the stream is multiplied by."""
    other: int = 0
    """Embeddings, norms, biases, and latents."""
    flops_per_token: int = 0
    """Forward products without weights that are not attention among the tokens of a row."""
    values: int = 0
    """Values per token that are kept for the backward pass, outside the blocks."""

    @property
    def parameters(self) -> int:
        """All weights of the part."""
        return (self.blocks.parameters if self.blocks else 0) + self.matrices + self.other

    def forward(self, rows: Iterable[Rows]) -> Flops:
        """FLOPs of one forward pass over rows of this part's stream."""
        weights = self.matrices + (self.blocks.run * self.blocks.block_matrices if self.blocks else 0)
        linear = attention = 0.0
        for group in rows:
            linear += group.count * group.length * (2 * weights + self.flops_per_token)
            if self.blocks:
                attention += group.count * self.blocks.attention_flops(group.length)
        return Flops(linear, attention)


@dataclass(frozen=True)
class Rows:
    """Some rows of one length in one part's stream."""

    count: float
    length: int


@dataclass(frozen=True)
class Flops:
    """FLOPs of a forward pass: products with weights, and those of attention."""

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """Both."""
        return self.linear + self.attention

    def backward(self, *, weight_passes: int) -> float:
        """FLOPs of the backward pass: `weight_passes` is 2 for trained weights, 1 for frozen ones."""
        return weight_passes * self.linear + 2 * self.attention


def decoder(
    *, layers: int, width: int, heads: int, kv_heads: int, head_width: int, intermediate: int, vocabulary: int,
    biases: int, causal: bool,
) -> Part:  # fmt: skip
    """A language model's body (Llama, Mistral, Qwen2): RMS norms, rotary positions, a gated MLP; without its head.

    Args:
        layers: Blocks.
        width: w.
        heads: H.
        kv_heads: K.
        head_width: d.
        intermediate: i.
        vocabulary: Rows of the token embedding.
        biases: Biases of one block.
        causal: Whether a token only sees those before it.
    """
    blocks = Blocks(layers, width, heads, kv_heads, head_width, intermediate, 3, 2 * width + biases, causal)
    return Part("language model", "tokens", blocks, other=vocabulary * width + width)


def plain_blocks(layers: int, width: int, heads: int, intermediate: int, *, causal: bool) -> Blocks:
    """CLIP's blocks: biases everywhere, two layer norms, a plain MLP."""
    vectors = 4 * width + intermediate + width + 4 * width
    return Blocks(layers, width, heads, heads, width // heads, intermediate, 2, vectors, causal)


def clip_vision(blocks: Blocks, *, patch: int, patches: int, stem: int | None = None) -> Part:
    """CLIP's vision tower: a patch embedding without bias, a class token, positions, norms before and after.

    Args:
        blocks: Its blocks.
        patch: Pixels of a patch's side.
        patches: Patches of an image, the class token not counted.
        stem: Weights of what stands in the place of the patch embedding, if something does.
    """
    embedding = 3 * patch * patch * blocks.width if stem is None else stem
    other = blocks.width + (patches + 1) * blocks.width + 4 * blocks.width
    return Part("vision tower", "patches", blocks, matrices=embedding, other=other)


def clip_text(blocks: Blocks, *, vocabulary: int, context: int) -> Part:
    """CLIP's text tower: token and position embeddings, a final norm."""
    return Part("text tower", "texts", blocks, other=(vocabulary + context + 2) * blocks.width)


def projector(vision_width: int, width: int) -> Part:
    """LLaVA's projector: two linear layers with biases, and the newline's vector."""
    matrices = vision_width * width + width * width
    return Part(
        "projector", "image_tokens", matrices=matrices, other=2 * width + width, values=vision_width + 2 * width
    )


def latent_attention(width: int, *, latents: int, heads: int, head_width: int) -> Part:
    """NV-Embed's pooling: attention to latents, then a GEGLU layer four times as wide, both with layer norms.

    Keys and values are of the latents, once a call: their weights count, their FLOPs do not.
    """
    inner = heads * head_width
    matrices = 2 * width * inner + width * 8 * width + 4 * width * width
    biases_and_norms = 8 * width + width + 6 * width
    other = width * 2 * inner + latents * width + biases_and_norms
    kept = 2 * inner + (8 + 3 * 4 + 4) * width
    return Part("pooling", "tokens", None, matrices, other, flops_per_token=4 * latents * inner, values=kept)


def adapters(blocks: Blocks, rank: int, targets: Iterable[str]) -> Part:
    """LoRA on linear layers of a language model."""
    return Part("adapters", "tokens", matrices=blocks.lora_parameters(rank, targets))


def activations(blocks: Blocks, *, value_bytes: int) -> int:
    """Bytes that one block of frozen weights keeps per token for its backward pass.

    Two norms' inputs in fp32; queries, keys, values and the attention's output (its scores are made again); of the MLP
    the values around its activation: gate, activated gate and up, or before and within a plain activation.
    """
    norms = 2 * blocks.width * FP32
    attention = 2 * (blocks.heads + blocks.kv_heads) * blocks.head_width * value_bytes
    inner = blocks.mlp_matrices * blocks.intermediate * value_bytes
    return norms + attention + inner


def trained_inputs(blocks: Blocks, *, value_bytes: int) -> int:
    """Bytes that one block keeps per token besides `activations` where its weights, or adapters, are trained.

    The inputs of its linear layers, in the precision of the computation: two normed values and the MLP's inner value.
    """
    return (2 * blocks.width + blocks.intermediate) * value_bytes
