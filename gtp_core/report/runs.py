"""A selection as a run: its id, its tables, and what it says of every sample of the pool."""

import hashlib
import json
import re
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.identity import telling
from gtp_core.report.quality import HeldOut, combination

VERDICTS = {
    "chosen": "in the selection",
    "pinned": "in the selection because you pinned it",
    "duplicate": "its text is an exact copy of a chosen sample's",
    "pruned": "entered the support in some round and was dropped for stronger samples",
    "redundant": "points towards the target, but at least half of what it could add is already "
    "matched by the chosen samples",
    "misaligned": "points away from the target, or too weakly to be chosen",
    "excluded": "you banned it, it is outside the filter, or its group is full to the cap",
    "invalid": "its gradient is zero, NaN or infinite at some checkpoint",
}
"""What each verdict means. A sample gets the first that applies, in the order of `_verdict`."""

_HALF = 0.5  # redundant: the residual's pull fell below this share of the target's


def run_document(
    catalog: Catalog, problem: Problem, selection: Selection, held: HeldOut | None
) -> dict[str, Any]:
    """Everything needed to rebuild a run, and its numbers, as plain JSON types."""
    settings = selection.settings
    return {
        "run": run_id(catalog, selection),
        "method": selection.method,
        "task": settings["task"],
        "budget": settings["budget"],
        "n_selected": len(selection.support),
        "n_filled": selection.n_filled,
        "residual_weighted": selection.residual_weighted,
        "residual_as_trained": selection.residual_as_trained,
        "held_out": held and {"match": held.match, "ceiling": held.ceiling, "splits": held.splits},
        "residuals": [round_.residual for round_ in selection.rounds],
        "stop": selection.stop.name.lower(),
        "store_id": catalog.store.store_id,
        "store_digest": catalog.store.digest,
        "settings": settings,
    }


def run_id(catalog: Catalog, selection: Selection) -> str:
    """The name of a run: method, task and budget for people, and a digest of all settings."""
    settings = selection.settings
    text = json.dumps([catalog.store.digest, telling(settings)], sort_keys=True)
    budget = re.sub(r"[^0-9A-Za-z]+", "", settings["budget"].replace("%", "pct"))
    task = re.sub(r"[^0-9A-Za-z._-]+", "-", settings["task"])[:80]
    name = f"-{settings['name']}" if settings.get("name") else ""
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{selection.method}{name}-{task}-{budget}-{digest}"


def run_tables(catalog: Catalog, problem: Problem, selection: Selection) -> dict[str, pl.DataFrame]:
    """The tables `selection`, `rounds` and `verdicts` of a run."""
    return {
        "selection": selection_table(catalog, problem, selection),
        "rounds": rounds_table(selection),
        "verdicts": verdict_table(catalog, problem, selection),
    }


def save(
    catalog: Catalog, problem: Problem, selection: Selection, held: HeldOut | None
) -> dict[str, Any]:
    """Keep a selection as a run; its document. Saving the same selection again changes nothing."""
    run = run_document(catalog, problem, selection, held)
    if run["run"] not in catalog.list_runs():
        catalog.save_run(run, run_tables(catalog, problem, selection))
    return run


def selection_table(catalog: Catalog, problem: Problem, selection: Selection) -> pl.DataFrame:
    """One row per chosen sample, strongest first: rank, row, sample_id, weight, influence, filled.

    `influence` is LESS's; `topk_rank` is the sample's place when ranked by it, from 1.
    """
    n_selected = len(selection.support)
    ranks = topk_ranks(problem)
    ids = catalog.sample_ids()
    return pl.DataFrame(
        {
            "rank": np.arange(1, n_selected + 1),
            "row": selection.support,
            "sample_id": ids.gather(selection.support),
            "weight": selection.weights,
            "influence": problem.influence[selection.support].astype(np.float64),
            "topk_rank": ranks[selection.support],
            "filled": np.arange(n_selected) >= n_selected - selection.n_filled,
        }
    )


def rounds_table(selection: Selection) -> pl.DataFrame:
    """One row per round: round, entered, kept, left, residual."""
    rows = [(i + 1, *vars(r).values()) for i, r in enumerate(selection.rounds)]
    return pl.DataFrame(rows, schema=["round", "entered", "kept", "left", "residual"], orient="row")


def topk_ranks(problem: Problem) -> np.ndarray:
    """Place (n_samples,) of every sample by LESS's influence, from 1; invalid ones come last."""
    scores = np.where(np.isfinite(problem.influence), problem.influence, -np.inf)
    scores = np.where(problem.atoms.candidates, scores, -np.inf)
    order = np.lexsort((np.arange(len(scores)), -scores))
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks


def verdict_table(catalog: Catalog, problem: Problem, selection: Selection) -> pl.DataFrame:
    """Exactly one verdict for every sample: sample_id, verdict, keeper, influence, proxy.

    `influence` is the inner product with the whole target and `proxy` with what the selection
    leaves of it, both in full dimension and in the problem's geometry: one pass.
    """
    residual = problem.target - combination(problem, selection)
    proxies = problem.atoms.products(np.stack([problem.target, residual]))
    ids = catalog.sample_ids()
    keeper = _text_keepers(catalog, selection.support)
    verdict = _verdict(catalog, problem, selection, proxies, keeper >= 0)
    keepers = pl.Series(np.maximum(keeper, 0))
    is_duplicate = pl.Series(verdict == "duplicate")
    return pl.DataFrame(
        {
            "sample_id": ids,
            "verdict": pl.Series(verdict).cast(pl.String),
            "keeper": ids.gather(keepers).zip_with(
                is_duplicate, pl.Series([None], dtype=pl.String)
            ),
            "influence": proxies[:, 0].astype(np.float64),
            "proxy": proxies[:, 1].astype(np.float64),
        }
    )


def _verdict(
    catalog: Catalog,
    problem: Problem,
    selection: Selection,
    proxies: np.ndarray,
    has_keeper: np.ndarray,
) -> np.ndarray:
    n_samples = problem.atoms.n_samples
    influence, proxy = proxies[:, 0], proxies[:, 1]
    covered = (influence > 0) & (proxy < _HALF * influence)
    verdict = np.where(covered, "redundant", "misaligned")
    entered = np.zeros(n_samples, bool)
    entered[selection.pruned] = True
    valid = catalog.valid()
    # Later lines overrule earlier ones.
    for name, mask in (
        ("excluded", (proxy > 0) & ~covered & _full(problem, selection.support)),
        ("pruned", entered),
        ("duplicate", has_keeper),
        ("excluded", ~problem.atoms.candidates),
        ("invalid", ~valid),
    ):
        verdict[mask] = name
    verdict[selection.support] = "chosen"
    verdict[problem.pinned] = "pinned"
    return verdict


def _full(problem: Problem, support: np.ndarray) -> np.ndarray:
    """(n_samples,) bool: the samples of groups of which as many are chosen as their cap allows."""
    full = np.zeros(problem.atoms.n_samples, bool)
    for cap in problem.caps:
        codes, counts = np.unique(cap.groups[support], return_counts=True)
        full |= np.isin(cap.groups, codes[(codes >= 0) & (counts >= cap.most)])
    return full


def _text_keepers(catalog: Catalog, support: np.ndarray) -> np.ndarray:
    """(n_samples,) row of the first chosen sample with the very same text, or -1."""
    texts = catalog.query("SELECT hash(prompt, completion) AS text FROM samples ORDER BY row")
    chosen = pl.DataFrame({"row": np.sort(support)}).with_columns(
        texts["text"].gather(np.sort(support))
    )
    first = chosen.group_by("text").agg(pl.col("row").min())
    found = texts.join(first, on="text", how="left", maintain_order="left")["row"].fill_null(-1)
    return found.to_numpy()
