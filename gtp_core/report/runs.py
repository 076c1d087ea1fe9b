"""A selection as a run: its id, its tables, and what it says of every sample of the pool."""

import hashlib
import json
import re
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import RunError
from gtp_core.pursuit import Selection, Stop
from gtp_core.report.identity import telling
from gtp_core.report.quality import HeldOut
from gtp_core.report.verdicts import verdict_table


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
    if selection.stop is Stop.ESTIMATED:
        raise RunError(
            f"the selection of {len(selection.support):,} samples is an estimate between two "
            "prepared budgets, and a run is what was solved. Compute it exactly first."
        )
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
