"""The error that a user can act on: it names the file, the record and the fix, in one line."""

from pathlib import Path


class InputError(ValueError):
    """Something that the user gave is wrong.

    The command line prints it as one line and exits with 2; a notebook sees an ordinary exception.
    """

    def __init__(
        self, problem: str, *, file: str | Path | None = None, record: str | None = None, fix: str | None = None
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.record = record
        self.fix = fix
        super().__init__(problem)

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.record) if part)
        line = f"{place}: {self.problem}" if place else self.problem
        if self.fix:
            line = f"{line} (fix: {self.fix})"
        return " ".join(line.split())

    def __reduce__(self) -> tuple:
        """Survive the trip out of a DataLoader worker."""
        return _rebuild, (self.problem, self.file, self.record, self.fix)


def _rebuild(problem: str, file: str | None, record: str | None, fix: str | None) -> InputError:
    return InputError(problem, file=file, record=record, fix=fix)
