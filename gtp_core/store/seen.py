"""Which sample ids were seen: eight bytes an id, however many samples there are."""

from collections.abc import Callable

import numpy as np
import polars as pl


class SeenIds:
    """Hashes of ids in sorted runs; a hash met again is looked up in what was written.

    A set of the texts would take a hundred bytes each: a gigabyte at ten million samples.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def repeated(self, ids: pl.Series, written: Callable[[], pl.LazyFrame]) -> str | None:
        """An id that occurs twice, among these or in what was written before; None if none does.

        Args:
            ids: of the rows to come.
            written: the samples so far, with a column `sample_id`.
        """
        if ids.n_unique() < len(ids):
            return ids.filter(ids.is_duplicated())[0]
        hashes = ids.hash().to_numpy()
        met = np.zeros(len(ids), bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            met |= run[at] == hashes
        if not met.any():
            return None
        same = pl.col("sample_id").is_in(ids.filter(pl.Series(met)).implode())
        found = written().filter(same).select("sample_id").head(1).collect()
        return found.item() if found.height else None  # else two ids that only share a hash

    def add(self, ids: pl.Series) -> None:
        """Remember these."""
        run = np.sort(ids.hash().to_numpy())
        # Runs of like size are joined, so that there are few of them and each id moves seldom.
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        if len(run):
            self._runs.append(run)
