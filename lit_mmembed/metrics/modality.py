"""Modality accuracy: does retrieval return the kind of document that the user asked for? (Table 2 of the paper.)"""

from __future__ import annotations

import numpy as np


def modality_accuracy(modality: np.ndarray, offsets: np.ndarray, wanted: np.ndarray, k: int) -> np.ndarray:
    """Return M.A.@k of each query: the share of its top k documents that have the modality asked for.

    M.A.@1 is Table 2's. A ranking shorter than k counts the documents that it has; an empty one counts 0.

    Args:
        modality: [R] modality codes of all rankings' documents, best first.
        offsets: [Q + 1] rows of query q are `offsets[q]:offsets[q + 1]`.
        wanted: [Q] the code asked for.
        k: Depth.

    Returns:
        [Q] shares from 0 to 1.
    """
    count = np.diff(offsets)
    kept = np.minimum(count, k)
    right = np.concatenate([[0], np.cumsum(modality == np.repeat(wanted, count))])
    inside = right[offsets[:-1] + kept] - right[offsets[:-1]]
    return inside / np.maximum(kept, 1)
