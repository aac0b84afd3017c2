"""Bytes on disk of what stages leave behind."""

from __future__ import annotations

from lit_mmembed.training.plan import ADAM, SHARDED
from lit_mmembed.training.planned_encoder import FULL, HALF, PlannedEncoder

ROW = 6
"""Of a store's `rows.parquet`, a row: an id of M-BEIR's form, compressed, its modality and its task."""
RANKED = 7
"""Of a ranking in Parquet, a document: a code into the ids, its rank, a score in fp32 that hardly compresses."""
MINED = 7.5
"""Of `negatives.parquet`, a row."""
SMALL = 1 << 16
"""Of the JSON files, logs and configurations of a stage, or of all that is not weights in a resume point, about."""
TAR_MEMBER = 512 + 256
"""Of a member of a shard beside its content: its header, and half a block of padding."""
INDEXED = 60
"""Of a sample in a shard set's index."""
SAMPLE_JSON = 250
"""Of a sample's JSON: id, text of 40 tokens, modality, task, positives."""


def whole_weights(encoder: PlannedEncoder) -> float:
    """Bytes of all weights: what is trained in fp32, the rest as the checkpoint is loaded."""
    sizes = {name: part.parameters for name, part in encoder.parts.items()}
    return sum(n * (FULL if name in encoder.trained else encoder.stored_bytes(name)) for name, n in sizes.items())


def own_weights(encoder: PlannedEncoder) -> float:
    """Bytes of the model folder of a fit: what was trained where the rest stays in its checkpoint, else all."""
    if encoder.own is None:
        return whole_weights(encoder)
    return sum(encoder.parts[name].parameters * FULL for name in encoder.own)


def resume_point(encoder: PlannedEncoder, strategy: str = "auto") -> float:
    """Bytes of `resume.ckpt`: what is trained in fp32 and its two moments; all weights where a strategy writes them."""
    trained = sum(encoder.parts[name].parameters for name in encoder.trained)
    return (whole_weights(encoder) if strategy in SHARDED else FULL * trained) + ADAM * trained + SMALL


def store(rows: float, dimension: int, value_bytes: int = HALF) -> float:
    """Bytes of a store."""
    return rows * (dimension * value_bytes + ROW)


def ranking(queries: float, depth: int) -> float:
    """Bytes of a ranking in Parquet."""
    return queries * depth * RANKED


def shard_sets(samples: float, images: float, image_bytes: float) -> float:
    """Bytes of shards and their index: every image is copied into each row that has it.

    Args:
        samples: Queries and documents of all splits.
        images: Those of them with an image.
        image_bytes: Mean size of an encoded image.
    """
    return samples * (TAR_MEMBER + SAMPLE_JSON + INDEXED) + images * (TAR_MEMBER + image_bytes)
