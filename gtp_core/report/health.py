"""The health card of a store: what is in it, and what to worry about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import pose
from gtp_core.catalog import Catalog
from gtp_core.errors import TaskError
from gtp_core.report.quality import LOW_RELIABILITY, Reliability, reliability
from gtp_core.store import all_files

_FAITHFUL = 0.9  # rank correlation of influences below which a larger projection pays
_COHERENT = 0.3  # mean cosine of two samples above which a common direction dominates


@dataclass(frozen=True)
class Check:
    """One line of the health card: `ok`, `warning` or `problem`, what was found, what to do."""

    level: str
    text: str


def store_facts(catalog: Catalog) -> dict[str, Any]:
    """What a store holds, as plain JSON types."""
    store = catalog.store
    manifest = store.manifest
    n_invalid = int((~catalog.valid()).sum())
    checkpoints = catalog.query(
        "SELECT checkpoint, step, step_size, eta, coherence FROM checkpoints ORDER BY position"
    )
    size = sum(file.bytes for file in all_files(manifest))
    return {
        "store_id": store.store_id,
        "n_samples": store.n_samples,
        "n_invalid": n_invalid,
        "dim": store.dim,
        "dtype": manifest.dtype,
        "bytes": size,
        "model": manifest.model,
        "gradients": manifest.gradients,
        "projection": manifest.projection,
        "producer": manifest.producer,
        "declared": manifest.declared,
        "checkpoints": checkpoints.to_dicts(),
        "tasks": task_facts(catalog),
        "sources": catalog.query(
            "SELECT source, count(*) AS samples FROM samples GROUP BY 1 ORDER BY 2 DESC, 1"
        ).to_dicts(),
    }


def task_facts(catalog: Catalog) -> list[dict[str, Any]]:
    """Each task's examples, subtasks and reliability (with the common direction removed)."""
    facts = []
    unusable = dict(catalog.query("SELECT task, n_invalid FROM tasks").iter_rows())
    for task in catalog.store.manifest.tasks:
        known = task_reliability(catalog, task.name)
        facts.append(
            {
                "task": task.name,
                "n_examples": task.n_examples,
                "n_invalid": unusable[task.name],
                "subtasks": list(task.subtasks),
                "reliability": known and known.full,
                "split_half": known and known.split_half,
                "reliability_if_doubled": known and known.doubled,
            }
        )
    return facts


def task_reliability(catalog: Catalog, task: str) -> Reliability | None:
    """The reliability of a task's target; None when it has fewer than two usable examples."""
    try:
        problem = pose(catalog, task)
    except TaskError:
        return None
    unusable = catalog.query("SELECT n_invalid FROM tasks WHERE task = $1", [task]).item()
    return reliability(problem, catalog.store.task(task).n_examples - unusable)


def checks(facts: dict[str, Any]) -> list[Check]:
    """What to worry about in a store, from its facts."""
    found = [_invalid_check(facts), _coherence_check(facts)]
    found += _projection_check(facts)
    found += [_task_check(task) for task in facts["tasks"]]
    if not facts["tasks"]:
        found.append(Check("problem", "No validation task: collect one, or nothing can be chosen."))
    if facts["declared"]:
        said = "; ".join(f"{name} {_short(value)}" for name, value in facts["declared"].items())
        found.append(Check("warning", f"Declared by the user, not by the source: {said}."))
    notes = facts["producer"].get("notes")
    found += [Check("warning", str(note)) for note in notes] if isinstance(notes, list) else []
    return found


def _short(value: Any) -> str:
    """A declared value for a sentence."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _invalid_check(facts: dict[str, Any]) -> Check:
    n = facts["n_invalid"]
    if n == 0:
        return Check("ok", "Every sample has a usable gradient at every checkpoint.")
    share = n / facts["n_samples"]
    return Check(
        "warning",
        f"{n:,} samples ({share:.1%}) have a zero, NaN or infinite gradient at some checkpoint; "
        "they are listed in the table health and are never chosen.",
    )


def _coherence_check(facts: dict[str, Any]) -> Check:
    values = [c["coherence"] for c in facts["checkpoints"] if c["coherence"] is not None]
    worst = max(values, default=0.0)
    if worst < _COHERENT:
        return Check("ok", f"Coherence {worst:.2f}: samples point in different directions.")
    return Check(
        "warning",
        f"Coherence {worst:.2f}: two samples share much of their direction, as Adam's momentum "
        "makes them. Keep the common direction removed.",
    )


def _projection_check(facts: dict[str, Any]) -> list[Check]:
    """What collecting measured of the projection's error; nothing where it was not measured."""
    error = facts["producer"].get("projection_error")
    if not error:
        return []
    text = (
        f"Projection: influences at {error['dim']:,} numbers rank {error['samples']:,} samples as "
        f"those at {error['against']:,} do with a correlation of {error['spearman']:.2f}"
    )
    if error["spearman"] >= _FAITHFUL:
        return [Check("ok", f"{text}.")]
    return [Check("warning", f"{text}; a larger --dim would keep more.")]


def _task_check(task: dict[str, Any]) -> Check:
    name, n, value = task["task"], task["n_examples"] - task["n_invalid"], task["reliability"]
    if value is None:
        return Check(
            "problem", f"Task {name} has {n} usable validation examples; at least two are needed."
        )
    if value >= LOW_RELIABILITY:
        return Check("ok", f"Task {name}: reliability {value:.2f} from {n} examples.")
    return Check(
        "warning",
        f"Task {name}: reliability {value:.2f} from {n} examples, so much of its target is "
        f"noise. Twice the examples would give about {task['reliability_if_doubled']:.2f}.",
    )


def norm_table(catalog: Catalog, bins: int = 40) -> pl.DataFrame:
    """Histogram of gradient norms per checkpoint on a log scale: checkpoint, norm, n."""
    norms = catalog.store.norms()
    usable = norms[np.isfinite(norms) & (norms > 0)]
    if usable.size == 0:
        return pl.DataFrame(schema={"checkpoint": pl.String, "norm": pl.Float64, "n": pl.Int64})
    low, high = float(usable.min()), float(usable.max())
    edges = np.geomspace(low * 0.999, max(high, low * 1.01) * 1.001, bins + 1)
    rows = []
    for c, checkpoint in enumerate(catalog.store.checkpoints):
        counts, _ = np.histogram(norms[np.isfinite(norms[:, c]), c], edges)
        middles = np.sqrt(edges[:-1] * edges[1:])
        rows += [(checkpoint.name, m, n) for m, n in zip(middles, counts, strict=True)]
    return pl.DataFrame(rows, schema=["checkpoint", "norm", "n"], orient="row")


def length_table(catalog: Catalog, bins: int = 32) -> pl.DataFrame:
    """Samples by tokens and by mean gradient norm, both on log scales: tokens, norm, n.

    Short completions tend to have long gradients; a strong slope here is length bias.
    """
    tokens = catalog.query("SELECT n_tokens FROM samples ORDER BY row")["n_tokens"].to_numpy()
    norms = catalog.store.norms()
    usable = catalog.valid() & (tokens > 0)
    empty = pl.DataFrame(schema={"tokens": pl.Float64, "norm": pl.Float64, "n": pl.Int64})
    if not usable.any():
        return empty
    pair = np.log(tokens[usable]), np.log(norms[usable].mean(axis=1))
    counts, x, y = np.histogram2d(*pair, bins=bins)
    middles = [np.exp((edges[:-1] + edges[1:]) / 2) for edges in (x, y)]
    grid = np.meshgrid(*middles, indexing="ij")
    flat = {"tokens": grid[0].ravel(), "norm": grid[1].ravel(), "n": counts.ravel().astype(int)}
    return pl.DataFrame(flat, schema=empty.schema)


def length_bias(catalog: Catalog) -> float:
    """Rank correlation of tokens with the mean gradient norm; near 0 means no length bias."""
    tokens = catalog.query("SELECT n_tokens FROM samples ORDER BY row")["n_tokens"]
    norms = pl.Series(np.where(catalog.valid(), catalog.store.norms().mean(axis=1), np.nan))
    pairs = pl.DataFrame({"tokens": tokens, "norm": norms}).filter(pl.col("norm").is_not_nan())
    found = pairs.select(pl.corr("tokens", "norm", method="spearman")).item()
    return float(found) if found is not None and np.isfinite(found) else 0.0
