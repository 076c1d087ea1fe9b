"""Tables about one sample in one selection: what it contributes, where, and who is like it."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.report.fitted import combined
from gtp_core.report.why.judged import Case, Judged

NEAREST = 8


def contribution(judged: Judged, found: Case) -> pl.DataFrame:
    """The residual step by step: nothing chosen, the others, with this sample.

    Returns:
        step, residual after it, change by it. The best weights at every step.
    """
    now, gain = judged.fitted.residual, found.gain or 0.0
    without = now + gain if found.place is not None else now
    with_it = now if found.place is not None else now - gain
    others = len(judged.selection.support) - (found.place is not None)
    rows = [
        ("the whole target", 1.0, 1.0),
        (f"{others:,} other chosen samples", without, without - 1.0),
        ("this sample" if found.place is not None else "this sample, if it joined", with_it, 0.0),
        ("left", with_it, with_it),
    ]
    rows[2] = (rows[2][0], with_it, with_it - without)
    return pl.DataFrame(rows, schema=["step", "residual", "change"], orient="row")


def gains_of_chosen(catalog: Catalog, judged: Judged) -> pl.DataFrame:
    """The chosen samples by conditional gain: gain_rank, sample_id, gain, covered, weight."""
    order = np.lexsort((judged.selection.support, -judged.gain))
    ids = catalog.sample_ids().gather(judged.selection.support[order])
    return pl.DataFrame(
        {
            "gain_rank": np.arange(1, len(order) + 1),
            "sample_id": ids,
            "gain": judged.gain[order],
            "covered": judged.covered[order],
            "weight": judged.selection.weights[order],
        }
    )


def where_it_points(catalog: Catalog, judged: Judged, found: Case) -> pl.DataFrame:
    """Where along the training a sample points towards the target.

    Returns:
        checkpoint; `target`: its piece's share of the cosine with the target (they sum to it);
        `left`: the same with what the selection leaves; `chosen`: the mean of `target` over the
        chosen samples.
    """
    names = [checkpoint.name for checkpoint in catalog.store.checkpoints]
    atom = judged.problem.atoms.rows(np.array([found.row])).astype(np.float64)
    chosen = judged.fitted.rows.astype(np.float64)
    target, rest = judged.problem.target, judged.rest
    mean = _pieces(chosen, target, len(names))
    return pl.DataFrame(
        {
            "checkpoint": names,
            "target": _pieces(atom, target, len(names))[0],
            "left": _pieces(atom, rest, len(names))[0],
            "chosen": mean.mean(axis=0) if len(chosen) else np.zeros(len(names)),
        }
    )


def _pieces(rows: np.ndarray, vector: np.ndarray, count: int) -> np.ndarray:
    """(k, count) shares of the cosines of rows (k, dim) with a vector, piece by piece."""
    products = (rows * vector).reshape(len(rows), count, -1).sum(axis=2)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return products / np.maximum(lengths, 1e-300)[:, None]


def by_subtask(judged: Judged, found: Case, names: Sequence[str]) -> pl.DataFrame:
    """The sample against every subtask's target.

    Args:
        judged: the selection.
        found: the sample.
        names: of the subtasks, in the problem's order.

    Returns:
        subtask, cosine of the sample with its target, cosine of the chosen samples' weighted sum.
    """
    problem, selection = judged.problem, judged.selection
    atom = problem.atoms.rows(np.array([found.row]))[0].astype(np.float64)
    total = combined(judged.fitted.rows, selection.weights[:, None])[0]
    columns = problem.columns
    return pl.DataFrame(
        {
            "subtask": list(names),
            "cosine": _cosines(columns, atom),
            "chosen": _cosines(columns, total),
        }
    )


def neighbours(
    catalog: Catalog, judged: Judged, found: Case, count: int = NEAREST
) -> tuple[pl.DataFrame, np.ndarray]:
    """The chosen samples nearest in gradient, and the cosines of all of them and the sample.

    Returns:
        sample_id, cosine, weight, nearest first; and (k + 1, k + 1) cosines, the sample first.
    """
    atom = judged.problem.atoms.rows(np.array([found.row]))[0].astype(np.float64)
    rows, support = judged.fitted.rows, judged.fitted.support
    cosines = _cosines(rows, atom)
    order = np.lexsort((support, -cosines))
    order = order[support[order] != found.row][:count]
    near = pl.DataFrame(
        {
            "sample_id": catalog.sample_ids().gather(support[order]),
            "cosine": cosines[order],
            "weight": judged.selection.weights[order],
        }
    )
    together = np.vstack([atom, rows[order].astype(np.float64)])
    together /= np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-300)
    return near, together @ together.T


def covering(found: Case) -> pl.DataFrame:
    """A sample's gradient, whole: who covers how much of it, and what nobody covers.

    Returns:
        part, share; the shares sum to 1. Empty for a sample whose gradient is invalid.
    """
    if found.covered is None:
        return pl.DataFrame(schema={"part": pl.String, "share": pl.Float64})
    named = float(found.coverers["share"].sum())
    rows = [*found.coverers.rows(), ("all other chosen samples", max(found.covered - named, 0.0))]
    rows.append(("not covered", max(1 - max(found.covered, named), 0.0)))
    return pl.DataFrame(rows, schema={"part": pl.String, "share": pl.Float64}, orient="row")


def _cosines(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.asarray(rows @ vector.astype(rows.dtype), np.float64) / np.maximum(lengths, 1e-300)
