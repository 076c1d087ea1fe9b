"""What only one of two selections has, and why the other has not: each row with its reason."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.report.contrast.contestants import Contestant
from gtp_core.report.given import GIVEN
from gtp_core.report.runs import topk_ranks
from gtp_core.report.verdicts import VERDICTS, chance_of

MOST_ROWS = 200
_LETTERS = 160  # of a text in the table


def only(
    catalog: Catalog,
    problem: Problem,
    one: Contestant,
    other: Contestant,
    *,
    limit: int = MOST_ROWS,
    address: Callable[[str], str] | None = None,
) -> pl.DataFrame:
    """The first `limit` samples that `one` has and `other` has not, strongest first.

    Args:
        catalog: the open catalog.
        problem: what both are judged by.
        one: whose samples are listed.
        other: who says why it has them not.
        limit: at most so many rows.
        address: where more is told about a sample of this id, as a first column `why`.

    Returns:
        rank and weight in `one`; sample_id; the `other`'s verdict of it, the reason in a sentence,
        the share of it that the other's samples cover, its conditional gain there (what the other's
        residual would fall by if it joined) and the keeper of a duplicate; influence, topk_rank,
        source, n_tokens and the texts, cut to 160 characters.
    """
    places = np.flatnonzero(~np.isin(one.support, other.support))[:limit]
    rows = one.support[places]
    judged = other.verdicts[rows.tolist()]
    texts = catalog.texts(rows)
    table = pl.DataFrame(
        {
            "rank": places + 1,
            "sample_id": texts["sample_id"],
            "weight": one.selection.weights[places],
            "verdict": judged["verdict"],
            "covered": judged["covered"].cast(pl.Float64),
            "gain": judged["gain"].cast(pl.Float64),
            "keeper": judged["keeper"],
            "influence": problem.influence[rows].astype(np.float64),
            "topk_rank": topk_ranks(problem)[rows],
            "source": texts["source"],
            "n_tokens": texts["n_tokens"],
            "prompt": texts["prompt"].str.slice(0, _LETTERS),
            "completion": texts["completion"].str.slice(0, _LETTERS),
        }
    )
    chance = chance_of(problem, other.selection)
    reasons = [_reason(other, row, chance) for row in table.iter_rows(named=True)]
    at = table.columns.index("verdict") + 1
    table.insert_column(at, pl.Series("reason", reasons, dtype=pl.String))
    if address:
        told = [address(sample_id) for sample_id in table["sample_id"]]
        table.insert_column(0, pl.Series("why", told, dtype=pl.String))
    return table


def _reason(other: Contestant, row: dict[str, Any], chance: float) -> str:
    """Why the other selection has not this sample, with the numbers that are known."""
    verdict, method = row["verdict"], other.selection.method
    if verdict in ("invalid", "excluded", "duplicate"):
        return VERDICTS[verdict] + (f": {row['keeper']}" if row["keeper"] else "")
    numbers = _numbers(row, chance)
    if method == GIVEN:
        why = "it is not in the list"
    elif method == "random":
        why = "it was not drawn"
    elif method == "top-k":
        why = f"top-k ranks it #{row['topk_rank']:,} and took {len(other):,}"
    elif verdict == "redundant" and numbers:
        why = "the chosen samples say it already"
    else:
        why = VERDICTS.get(verdict, str(verdict))
    return "; ".join([why, *numbers])


def _numbers(row: dict[str, Any], chance: float) -> list[str]:
    """How much of it is covered, and what it would add; nothing where nobody worked it out."""
    said = []
    if row["covered"] is not None:
        share = f"{row['covered']:.0%} of it is covered by the chosen samples"
        said.append(f"{share} ({chance:.0%} would be by chance)")
    if (gain := row["gain"]) is not None:
        way = "lower" if gain >= 0 else "raise"
        said.append(f"joining would {way} the residual by {abs(gain):.3%}")
    return said
