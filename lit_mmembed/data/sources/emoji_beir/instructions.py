"""The instructions of the eight tasks, four wordings each, in M-BEIR's columns."""

from __future__ import annotations

from lit_mmembed.data.instructions import COLUMNS
from lit_mmembed.data.sources.emoji_beir.records import TASKS

PROMPTS = {
    0: (
        "Find an emoji image that matches the given caption.",
        "Identify the drawing that the following words describe.",
        "I want to see the small picture that this caption is about.",
        "Show me the emoji drawing for this description.",
    ),
    1: (
        "Retrieve a passage that answers the following question about a country.",
        "Find the written fact that answers this question.",
        "I want to read a sentence which answers the question.",
        "Which text passage holds the answer to this question about a country?",
    ),
    2: (
        "Find a flag with a passage that answers the following question about a country.",
        "Retrieve the country's flag together with the fact that is asked for.",
        "I want to see the flag and read the answer to this question.",
        "Which pair of a flag and a passage answers this question?",
    ),
    3: (
        "Find a caption that describes the given emoji image.",
        "Retrieve the words for the displayed drawing.",
        "I want to read what this small picture shows.",
        "Which description belongs to this emoji drawing?",
    ),
    4: (
        "Find another drawing of what the given image shows.",
        "Retrieve the picture in which a different artist drew the same thing.",
        "I want to see the same emoji in another style.",
        "Which image shows what this image shows?",
    ),
    6: (
        "Retrieve a passage that answers the question about the country in the image.",
        "Find the written fact about the country whose flag or outline is shown.",
        "I want to read a sentence that answers my question about this picture.",
        "Which text passage answers the question about the displayed country?",
    ),
    7: (
        "Find the image that results from the described change to the given image.",
        "With the reference image and the change, retrieve the changed drawing.",
        "I want to see this picture with the modification that I ask for.",
        "Which image looks like this one after the change?",
    ),
    8: (
        "Find a map outline with a passage that answers the question about the flag in the image.",
        "Retrieve the country's outline together with the fact that is asked for over its flag.",
        "I want to see the shape of this flag's country and read the answer to my question.",
        "Which pair of an outline and a passage answers the question about this flag?",
    ),
}


def instruction_rows() -> str:
    """Return the TSV file."""
    rows = [COLUMNS]
    for number, prompts in PROMPTS.items():
        task = TASKS[number]
        rows.append((task.query_modality, task.candidate_modality, task.dataset, str(task.dataset_id), *prompts))
    return "".join("\t".join(row) + "\n" for row in rows)
