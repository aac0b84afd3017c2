"""M.A.@k against a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lit_mmembed.metrics.modality import modality_accuracy

runs = st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=8), st.integers(0, 2)), min_size=1, max_size=6)


@given(runs, st.integers(1, 10))
def test_modality_accuracy_is_the_share_of_right_documents_in_the_top_k(run, k) -> None:
    modality = np.array([code for codes, _ in run for code in codes], dtype=np.int8)
    offsets = np.cumsum([0, *(len(codes) for codes, _ in run)])
    found = modality_accuracy(modality, offsets, np.array([wanted for _, wanted in run]), k)
    expected = [codes[:k].count(wanted) / len(codes[:k]) if codes else 0.0 for codes, wanted in run]
    np.testing.assert_allclose(found, expected)


def test_at_one_it_is_table_2s_share_of_queries() -> None:
    found = modality_accuracy(np.array([1, 0, 0, 1]), np.array([0, 2, 4]), np.array([1, 1]), 1)
    assert found.mean() == 0.5
