"""What became of every sample of the pool: exactly one verdict each, and the numbers behind it."""

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.joins import covered_and_gain
from gtp_core.report.quality import combination

HALF = 0.5
"""Redundant: at most this share of a sample's pull on the target is left, or at least this share
of the way from chance to all of its gradient is covered."""

VERDICTS = {
    "chosen": "in the selection",
    "pinned": "in the selection because you pinned it",
    "duplicate": "its text is an exact copy of a chosen sample's",
    "pruned": "entered the support in some round and was dropped for stronger samples",
    "redundant": "points towards the target, but the chosen samples already match at least half of "
    "its pull on it, or cover its gradient at least halfway from chance to all of it",
    "misaligned": "points away from the target, or too weakly to be chosen",
    "excluded": "you banned it, it is outside the filter, or its group is full to the cap",
    "invalid": "its gradient is zero, NaN or infinite at some checkpoint",
}
"""What each verdict means. A sample gets the first that applies, in the order of `_verdicts`."""


def verdict_table(catalog: Catalog, problem: Problem, selection: Selection) -> pl.DataFrame:
    """Exactly one verdict for every sample of the pool.

    Returns:
        sample_id, verdict, keeper, influence, proxy, covered, gain. `influence` is the inner
        product with the whole target and `proxy` with what the selection leaves of it; `covered`
        and `gain` are those of `covered_and_gain`, null where not computed and for invalid
        samples. All in full dimension and in the problem's geometry.
    """
    residual = problem.target - combination(problem, selection)
    pulls = problem.atoms.products(np.stack([problem.target, residual])).astype(np.float64)
    covered, gain = covered_and_gain(problem, selection, (pulls[:, 0], pulls[:, 1]))
    everyone = np.arange(problem.atoms.n_samples)
    keeper = text_keepers(catalog, selection.support)
    usable = catalog.valid()
    verdict = verdicts(problem, selection, everyone, pulls, covered, keeper, usable)
    ids = catalog.sample_ids()
    keepers = ids.gather(pl.Series(np.maximum(keeper, 0)))
    nobody = pl.Series([None], dtype=pl.String)
    return pl.DataFrame(
        {
            "sample_id": ids,
            "verdict": pl.Series(verdict).cast(pl.String),
            "keeper": keepers.zip_with(pl.Series(verdict == "duplicate"), nobody),
            "influence": pulls[:, 0],
            "proxy": pulls[:, 1],
            "covered": _or_null(covered, usable),
            "gain": _or_null(gain, usable),
        }
    )


def _or_null(values: np.ndarray, usable: np.ndarray) -> pl.Series:
    return pl.Series(np.where(usable, values, np.nan), dtype=pl.Float64).fill_nan(None)


def verdicts(
    problem: Problem,
    selection: Selection,
    index: np.ndarray,
    pulls: np.ndarray,
    covered: np.ndarray,
    keeper: np.ndarray,
    usable: np.ndarray,
) -> np.ndarray:
    """The verdicts (k,) of some samples.

    Args:
        problem: what was asked.
        selection: what was chosen.
        index: (k,) the samples' rows.
        pulls: (k, 2) inner products with the target and with what is left of it.
        covered: (k,) covered shares, NaN where not known.
        keeper: (k,) row of a chosen sample with the same text, or -1.
        usable: (k,) bool: whether there is a gradient at every checkpoint.
    """
    superfluous = redundant(problem, selection, pulls, covered)
    full = _full(problem, selection.support)[index]
    # Later lines overrule earlier ones.
    verdict = np.where(superfluous, "redundant", "misaligned")
    for name, mask in (
        ("excluded", (pulls[:, 1] > 0) & ~superfluous & full),
        ("pruned", np.isin(index, selection.pruned)),
        ("duplicate", keeper >= 0),
        ("excluded", ~problem.atoms.candidates[index]),
        ("invalid", ~usable),
        ("chosen", np.isin(index, selection.support)),
        ("pinned", np.isin(index, problem.pinned)),
    ):
        verdict[mask] = name
    return verdict


def redundant(
    problem: Problem, selection: Selection, pulls: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """(k,) bool: points towards the target, and the chosen samples say it already.

    That is: at least half of its pull on the target is matched, or its gradient is covered at
    least halfway from what chance would cover to all of it.
    """
    towards, left = pulls[:, 0], pulls[:, 1]
    chance = chance_of(problem, selection)
    return (towards > 0) & ((left < HALF * towards) | well_covered(covered, chance))


def well_covered(covered: np.ndarray, chance: float) -> np.ndarray:
    """(k,) bool: covered at least halfway from chance to all; NaN is not."""
    return (chance < 1) & (covered - chance >= HALF * (1 - chance))


def chance_of(problem: Problem, selection: Selection) -> float:
    """The share of a random direction that as many chosen samples cover: their number over dim."""
    return min(1.0, len(selection.support) / problem.atoms.dim)


def _full(problem: Problem, support: np.ndarray) -> np.ndarray:
    """(n_samples,) bool: the samples of groups of which as many are chosen as their cap allows."""
    full = np.zeros(problem.atoms.n_samples, bool)
    for cap in problem.caps:
        codes, counts = np.unique(cap.groups[support], return_counts=True)
        full |= np.isin(cap.groups, codes[(codes >= 0) & (counts >= cap.most)])
    return full


def text_keepers(catalog: Catalog, support: np.ndarray) -> np.ndarray:
    """(n_samples,) row of the first chosen sample with the very same text, or -1."""
    texts = catalog.query("SELECT hash(prompt, completion) AS text FROM samples ORDER BY row")
    chosen = pl.DataFrame({"row": np.sort(support)}).with_columns(
        texts["text"].gather(np.sort(support))
    )
    first = chosen.group_by("text").agg(pl.col("row").min())
    found = texts.join(first, on="text", how="left", maintain_order="left")["row"].fill_null(-1)
    return found.to_numpy()
