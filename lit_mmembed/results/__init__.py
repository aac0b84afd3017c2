"""Results in a Python program or a notebook: the scores, curves, rankings and negatives of a run folder.

`Results(folder)` opens what `mmembed run` has made; `recorded_scores` reads the `scores.csv` of a report.
"""

from lit_mmembed.results.answers import Answers, Hit
from lit_mmembed.results.mined import Mined, MinedNegatives
from lit_mmembed.results.run import Results
from lit_mmembed.results.samples import Item, Query, Samples
from lit_mmembed.results.scores import differences, means, recorded_scores, select

__all__ = [
    "Answers",
    "Hit",
    "Item",
    "Mined",
    "MinedNegatives",
    "Query",
    "Results",
    "Samples",
    "differences",
    "means",
    "recorded_scores",
    "select",
]
