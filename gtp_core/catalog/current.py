"""What became of every sample in the selection at hand, saved or not, and the working set of it."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog.catalog import Catalog
from gtp_core.catalog.filters import Filter, is_nearest, within, working_set

PAGE = 100  # rows of the working set that are shown at a time
_SECONDS = 10.0

_SHOWN = """
SELECT c.*, s.source, s.n_tokens, left(s.prompt, 160) AS prompt, i.by_checkpoint,
  (SELECT mark FROM marks WHERE marks.sample_id = c.sample_id) AS mark,
  (SELECT string_agg(tag, ', ' ORDER BY tag) FROM tags WHERE tags.sample_id = c.sample_id) AS tags
FROM current c JOIN samples s USING (row)
LEFT JOIN (SELECT row, by_checkpoint FROM influences WHERE task = $2) i USING (row)
WHERE c.row IN (SELECT unnest($1::BIGINT[]))
"""


@dataclass(frozen=True)
class Nearest:
    """The samples most similar to something, most similar first.

    Attributes:
        rows: (n_found,) row numbers.
        scores: (n_found,) how similar, at most 1.
    """

    rows: np.ndarray
    scores: np.ndarray


class Current:
    """A selection's verdicts as table `current` beside those of the catalog.

    The table belongs to this process and goes with this object. Queries made here see it; those
    of others do not.

    Args:
        catalog: an open catalog.
        table: one row per sample with `row` and `sample_id`; see `report.current_table`.
    """

    def __init__(self, catalog: Catalog, table: pl.DataFrame) -> None:
        self.catalog = catalog
        self.n_samples = table.height
        self._name = catalog.keep(table)
        weakref.finalize(self, catalog.forget, self._name)

    def query(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """As the catalog's, for our own statements."""
        return self.catalog.query(sql, params, current=self._name)

    def ask(self, sql: str, params: Sequence[Any] = (), *, limit: int = 1000) -> pl.DataFrame:
        """As the catalog's, for a curator's statement."""
        return self.catalog.ask(sql, params=params, limit=limit, current=self._name)

    def sample(self, sample_id: str, task: str) -> dict[str, Any] | None:
        """Everything known of one sample, its whole texts included; None if there is no such."""
        rows = self.query("SELECT row FROM samples WHERE sample_id = $1", [sample_id])["row"]
        found = self.query(_SHOWN, [rows.to_list(), task])
        whole = self.catalog.texts(rows.to_numpy())
        return {**found.row(0, named=True), **whole.row(0, named=True)} if len(rows) else None

    def working_set(
        self,
        filters: Sequence[Filter] = (),
        order: str = "pool",
        nearest: Mapping[Filter, Nearest] | None = None,
        placed: Mapping[Filter, np.ndarray] | None = None,
    ) -> "WorkingSet":
        """The samples that pass the filters, in an order of ORDERS; most similar first if asked.

        Args:
            filters: from the page or a link.
            order: a key of ORDERS.
            nearest: what was found for filters that ask for the most similar.
            placed: the rows of filters that say where samples lie.

        Raises:
            CatalogError: a condition or pattern that DuckDB refuses, or too slow.
        """
        for one in filters:
            if one.kind == "where":
                self.catalog.check_condition(one.value)
        found = [(nearest or {})[one] for one in filters if is_nearest(one)]
        among = [*(near.rows for near in found), *within(placed or {})]
        sql, params = working_set(filters, order, among)
        rows = self.ask(sql, params, limit=self.n_samples)["row"].to_numpy()
        if not found:
            return WorkingSet(self, rows)
        kept = np.isin(found[0].rows, rows)
        return WorkingSet(self, found[0].rows[kept], found[0].scores[kept])


@dataclass(frozen=True)
class WorkingSet:
    """Samples that a curator looks at together.

    Attributes:
        current: the verdicts they are seen by.
        rows: (n,) row numbers in their order.
        scores: (n,) how similar each is to what was asked for; empty when nothing was.

    Example:
        >>> import polars as pl
        >>> from gtp_core.catalog import open_catalog
        >>> catalog = open_catalog("data/demo")
        >>> seen = Current(catalog, catalog.query("SELECT row, sample_id FROM samples"))
        >>> len(seen.working_set([Filter("where", "row < 3")]))
        3
        >>> catalog.close()
    """

    current: Current
    rows: np.ndarray
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_pages(self) -> int:
        """Pages of PAGE rows; one even when there is nothing."""
        return max(1, -(-len(self.rows) // PAGE))

    def page(self, number: int, task: str) -> pl.DataFrame:
        """The rows of a page (from 1): verdicts, source, tokens, the prompt's beginning, the
        influence on a task by checkpoint, mark and tags; and how similar, where that was asked.
        """
        here = slice((number - 1) * PAGE, number * PAGE)
        wanted = pl.DataFrame({"row": self.rows[here]}, schema={"row": pl.Int64})
        if len(self.scores):
            wanted = wanted.with_columns(similarity=pl.Series(self.scores[here]))
        found = self.current.query(_SHOWN, [wanted["row"].to_list(), task])
        return wanted.join(found, on="row", how="left", maintain_order="left")

    def page_of(self, sample_id: str) -> int:
        """The page that a sample is on; the first when it is on none."""
        place = self.place(sample_id)
        return 1 if place is None else place // PAGE + 1

    def place(self, sample_id: str) -> int | None:
        """Where a sample stands in the order, from 0; None if it is not among them."""
        found = self.current.query("SELECT row FROM samples WHERE sample_id = $1", [sample_id])
        places = np.flatnonzero(np.isin(self.rows, found["row"].to_numpy()))
        return int(places[0]) if len(places) else None

    def beside(self, sample_id: str, step: int) -> str | None:
        """The sample `step` places further, at most the last; the first from outside."""
        if not len(self.rows):
            return None
        place = self.place(sample_id)
        there = 0 if place is None else min(max(place + step, 0), len(self.rows) - 1)
        return self._ids(self.rows[there : there + 1])[0]

    def sample_ids(self) -> list[str]:
        """The ids of all of them, in their order."""
        return self._ids(self.rows)

    def listed(self) -> pl.DataFrame:
        """sample_id, verdict, weight and source of all of them, in their order."""
        wanted = pl.DataFrame({"row": self.rows}, schema={"row": pl.Int64})
        known = self.current.query(
            "SELECT row, c.sample_id, verdict, weight, source"
            " FROM current c JOIN samples USING (row)"
        )
        return wanted.join(known, on="row", how="left", maintain_order="left").drop("row")

    def _ids(self, rows: np.ndarray) -> list[str]:
        return self.current.catalog.texts(rows)["sample_id"].to_list()
