"""Natural language inference: a premise, the hypotheses that it entails, and those that it contradicts.

SNLI's and MultiNLI's JSON lines (sentence1, sentence2, gold_label) and tables (premise, hypothesis, label).
"""

from __future__ import annotations

from typing import Any

from lit_mmembed.data.sources.texts.rows import Asked, Columns, LeftOut, as_record, by_content, text_in
from lit_mmembed.errors import InputError

ROLES = ("premise", "hypothesis", "label")
NAMES = {
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "label": ("gold_label", "label"),
}
LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2, "0": 0, "1": 1, "2": 2}
"""Words, and the numbers that AllNLI, SNLI and MultiNLI have for them on the hub."""
UNLABELLED = ("-", "-1", "")


def parse(content: Any, columns: Columns) -> Asked | LeftOut:
    """Read one row; neutral hypotheses and rows without a label are left out."""
    record = as_record(content)
    names = {}
    for role, known in NAMES.items():
        found = next((name for name in known if name in record), " or ".join(known))
        names[role] = columns.get(role, (found,))[0]
    if names["label"] not in record:
        fix = (
            f"it has {', '.join(sorted(record)) or 'nothing'}; name its columns: premise=..., hypothesis=..., label=..."
        )
        raise InputError(f"lacks {names['label']}", fix=fix)
    label = record[names["label"]]
    if label is None or str(label) in UNLABELLED:
        return LeftOut("rows without a label")
    number = None if isinstance(label, bool) else LABELS.get(str(label).lower())
    if number is None:
        fix = "write entailment, neutral or contradiction, or 0, 1 or 2"
        raise InputError(f"{names['label']} {label!r} is unknown", fix=fix)
    premise, hypothesis = text_in(record, names["premise"]), by_content([text_in(record, names["hypothesis"])])
    if number == LABELS["neutral"]:
        return LeftOut("neutral rows")
    entailed = number == LABELS["entailment"]
    return Asked(None, premise, hypothesis) if entailed else Asked(None, premise, (), hypothesis)
