"""The negatives of a query, as mining kept them, with texts and pictures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.results.samples import Item, Query, Samples

if TYPE_CHECKING:
    from lit_mmembed.data.directory import DataDirectory

COLUMNS = ("qid", "did", "kind", "rank", "score")


class Mined(NamedTuple):
    """A negative: a row of NEGATIVES.parquet with its document."""

    kind: str
    """`wrong_modality` (C1 of section 4.1.1), `unsatisfying` (C2) or `random`."""
    rank: int
    """From 1; 0 for `random`."""
    score: float
    document: Item


class MinedNegatives:
    """A file of negatives beside the queries and documents it names. `Results.negatives` opens it."""

    def __init__(self, path: str | Path, directory: DataDirectory, split: str = "train") -> None:
        self.path = Path(path)
        self.samples = Samples(directory, split)
        if not self.path.exists():
            raise InputError(
                "does not exist", file=self.path, fix="mine first: `mmembed mine` or the MineNegatives callback"
            )

    def queries(self, kind: str | None = None) -> list[str]:
        """Ids of the queries that have a negative, of one kind or of any, in the file's order."""
        import pyarrow.compute as pc

        table = self._table if kind is None else self._table.filter(pc.equal(self._table["kind"], kind))
        return pc.unique(table["qid"]).to_pylist()

    def query(self, qid: str) -> Query:
        """The query's text, picture, task, instruction and the ids of its positives."""
        return self.samples.query(qid)

    def of(self, qid: str) -> list[Mined]:
        """The query's negatives by kind and rank; none where nothing was mined for it."""
        import pyarrow.compute as pc

        rows = self._table.filter(pc.equal(self._table["qid"], qid)).to_pylist()
        return [Mined(row["kind"], row["rank"], row["score"], self.samples.document(row["did"])) for row in rows]

    @cached_property
    def _table(self) -> Any:  # a pyarrow table
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path, columns=list(COLUMNS))
        except (OSError, KeyError, pa.ArrowException) as broken:
            raise InputError(f"is not a file of negatives: {broken}", file=self.path, fix="mine again") from None
        names = [pa.field(name, pa.string()) for name in COLUMNS[:3]]
        return table.cast(pa.schema([*names, table.schema.field("rank"), table.schema.field("score")]))
