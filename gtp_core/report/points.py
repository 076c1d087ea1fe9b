"""What is said of a sample under the mouse: its id, its verdict, how its text begins."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.fitted import fitted
from gtp_core.report.joins import joining
from gtp_core.report.quality import combination
from gtp_core.report.verdicts import text_keepers, verdicts

_LETTERS = 80  # of a text
_MOST_WORK = 5e10  # multiplications: about a second


def point_words(
    catalog: Catalog, problem: Problem, selection: Selection, groups: Sequence[np.ndarray]
) -> dict[int, str]:
    """By row, an id and the verdict of a sample in a selection, then how its text begins.

    Args:
        catalog: the open catalog.
        problem: what was asked.
        selection: whose verdicts they are.
        groups: rows; so that a figure stays small, only some six hundred of each have a text.

    Returns:
        Lines as they are: whoever draws them makes them harmless.
    """
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *groups]))
    told = np.concatenate(
        [np.empty(0, np.int64), *(group[:: 1 + len(group) // 600] for group in groups)]
    )
    texts = catalog.texts(rows).with_columns(
        pl.Series("verdict", some_verdicts(catalog, problem, selection, rows)),
        pl.concat_str("prompt", pl.lit(" "), "completion")
        .str.slice(0, 4 * _LETTERS)
        .str.replace_all(r"\s+", " ")
        .alias("text"),
        pl.Series("told", np.isin(rows, told)),
    )
    found = {}
    for row, name, verdict, text, whole in texts.select(
        "row", "sample_id", "verdict", "text", "told"
    ).rows():
        cut = text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
        found[row] = f"{name[:_LETTERS]}\n{verdict}" + (f"\n{cut}" if whole else "")
    return found


def some_verdicts(
    catalog: Catalog, problem: Problem, selection: Selection, rows: np.ndarray
) -> np.ndarray:
    """The verdicts (k,) of a few samples, as `verdict_table` has them, at the cost of a few.

    `not chosen` where it would take long to say why.
    """
    residual = problem.target - combination(problem, selection)
    pulls = problem.atoms.products(np.stack([problem.target, residual])).astype(np.float64)[rows]
    keeper, usable = text_keepers(catalog, selection.support)[rows], catalog.valid()[rows]
    covered = np.full(len(rows), np.nan)
    rest = np.flatnonzero(usable & ~np.isin(rows, selection.support))
    m, dim = len(selection.support), problem.atoms.dim
    known = m * m * (dim + m) + len(rest) * m * (dim + 3 * m) <= _MOST_WORK
    if m and len(rest) and known:
        covered[rest], _ = joining(problem, fitted(problem, selection), rows[rest])
    found = verdicts(problem, selection, rows, pulls, covered, keeper, usable)
    unclear = np.isin(found, ["misaligned", "excluded"]) & problem.atoms.candidates[rows]
    return found if known else np.where(unclear & usable, "not chosen", found)
