"""Which row of the paper's tables a task of mteb's is, by its name alone."""

from __future__ import annotations

import pytest

from lit_mmembed.evaluation.mteb.names import paper_task


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("CQADupstackGamingRetrieval", "CQADupStack"),
        ("ClimateFEVERHardNegatives.v2", "Climate-FEVER"),
        ("ClimateFEVER.v2", "Climate-FEVER"),
        ("FEVERHardNegatives.v2", "FEVER"),
        ("NanoFiQA2018Retrieval", "FiQA"),
        ("Touche2020Retrieval.v3", "Touche-2020"),
        ("QuoraRetrievalDecontaminated", "Quora"),
        ("CQADupstackRetrieval", "CQADupStack"),
        ("NanoClimateFeverRetrieval", "Climate-FEVER"),
        ("TrecCOVIDDecontaminated", "TREC-COVID"),
        ("SciDocsDecontaminated", "SCIDOCS"),
        ("CQADupstackRetrieval-PL", None),
        ("CQADupstack-Android-PL", None),
        ("CQADupstackGamingRetrieval-Fa", None),
        ("CQADupstackTex-NL", None),
        ("CQADupstackTex-VN", None),
        ("SCIDOCS-NL", None),
        ("SciDocsRR", None),
        ("NQTablesRetrieval", None),
        ("MSMARCOv2", None),
        ("CUB200I2IRetrieval", None),
    ],
)
def test_variants_of_a_task_have_its_prompt(name, paper):
    task = paper_task(name)
    assert (task and task.dataset) == paper
