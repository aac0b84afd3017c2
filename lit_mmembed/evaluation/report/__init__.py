"""`mmembed report`: one page, its Markdown twin and a table of numbers from a run folder.

Nothing heavy is imported before `report` is called.
"""

from __future__ import annotations

from pathlib import Path

PAGE, MARKDOWN, SCORES = "index.html", "report.md", "scores.csv"


def report(run_dir: str | Path, out: str | Path) -> Path:
    """Write OUT/index.html (self-contained), OUT/report.md with its figures and OUT/scores.csv; return the page's path.

    The same run folder gives the same bytes.

    Raises:
        InputError: the run folder has no finished evaluation, or a file in it is broken; names the file.
    """
    from lit_mmembed.evaluation.report.collect import collect
    from lit_mmembed.evaluation.report.content import content_of
    from lit_mmembed.evaluation.report.writing import write_csv, write_markdown, write_page

    out = Path(out)
    run = collect(Path(run_dir), without=out)
    content = content_of(run)
    write_csv(out / SCORES, run)
    write_markdown(out / MARKDOWN, content)
    return write_page(out / PAGE, content)
