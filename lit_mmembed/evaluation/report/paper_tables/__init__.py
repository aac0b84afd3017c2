"""`mmembed report --paper`: the paper's tables with our numbers, from one or more run folders.

Nothing heavy is imported before `paper_report` is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE, MARKDOWN, CELLS = "index.html", "paper.md", "paper.json"
NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9)
"""The tables that runs can fill; 8 and 10 of the paper are of data and of others' checkpoints."""
ON_CONFLICT = ("error", "first")


def paper_report(
    run_dirs: Sequence[str | Path], numbers: Sequence[int], out: str | Path, *, on_conflict: str = "error"
) -> tuple[str, Path]:
    """Write OUT/index.html (self-contained), OUT/paper.md and OUT/paper.json.

    The same run folders give the same bytes.

    Args:
        run_dirs: Run folders of one benchmark, in the order in which they count.
        numbers: Tables of the paper; all of NUMBERS where there is none.
        out: The folder.
        on_conflict: What happens where two run folders have different numbers of one system, seed, split and task:
            "error", or "first": the folder named first counts.

    Returns:
        The tables as text for a terminal, and the page's path.

    Raises:
        InputError: no such table; no such run folder, or none with an evaluation; two that differ, or that are of
            different benchmarks.
    """
    from lit_mmembed.errors import InputError
    from lit_mmembed.evaluation.report.collect import collect
    from lit_mmembed.evaluation.report.paper_tables.content import content_of
    from lit_mmembed.evaluation.report.paper_tables.sources import Library
    from lit_mmembed.evaluation.report.paper_tables.text import text_of
    from lit_mmembed.evaluation.report.paper_tables.writing import write_json, write_markdown, write_page

    unknown = [str(number) for number in numbers if number not in NUMBERS]
    if unknown:
        fix = f"name some of {', '.join(map(str, NUMBERS))}, or none for all"
        raise InputError(f"there is no table {', '.join(unknown)} that runs can fill", fix=fix)
    out = Path(out)
    folders = {Path(folder).resolve(): Path(folder) for folder in run_dirs}
    library = Library(tuple(collect(folder, without=out) for folder in folders.values()), on_conflict)
    content = content_of(library, sorted(set(numbers)) or NUMBERS)
    write_json(out / CELLS, content)
    write_markdown(out / MARKDOWN, content)
    return text_of(content), write_page(out / PAGE, content)
