"""What the projection costs in truth: influences at the store's dimension against a larger one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtp_core.collect.encode import Encoded
from gtp_core.collect.projection import Projection, Unprojected, make_projection
from gtp_core.collect.work import RowMaker

SAMPLES = 256
EXAMPLES = 32
_LARGER = 4
_WHOLE = 65_536


def projection_error(
    maker: RowMaker,
    samples: Sequence[Encoded],
    tasks: Mapping[str, Sequence[Encoded]],
    *,
    kinds: Mapping[str, str],
) -> dict[str, Any] | None:
    """How far influences at this dimension are from those at a larger one, on a sample.

    The reference is the gradient itself where it has at most four times as many numbers or
    65,536, and else a projection four times as long with another seed. None where nothing is
    projected, or where there is nothing to compare.

    Returns:
        `dim` and `against` (the reference's length), `samples` and `examples` that were compared,
        `spearman` (rank correlation of influences, the mean over tasks), `rms` (of the
        difference of two influences) and `expected` (1 / sqrt(dim), what theory gives for the
        cosine of two unit rows).
    """
    projection = maker.projections[0]
    if isinstance(projection, Unprojected) or not tasks or len(samples) < 2:
        return None
    both = RowMaker(
        maker.source,
        [projection, _reference(projection)],
        max_batch_tokens=maker.max_batch_tokens,
        max_batch_samples=maker.max_batch_samples,
    )
    both.adopt(maker)
    atoms = [_unit(rows) for rows in both.rows(samples, kinds["samples"])]
    correlations, squares, n_examples = [], [], 0
    for texts in tasks.values():
        targets = [_unit(rows).mean(axis=0) for rows in both.rows(texts, kinds["tasks"])]
        small, large = (a @ t for a, t in zip(atoms, targets, strict=True))
        correlations.append(_spearman(small, large))
        squares.append(np.mean((small - large) ** 2))
        n_examples += len(texts)
    return {
        "dim": projection.dim,
        "against": both.projections[1].dim,
        "samples": len(samples),
        "examples": n_examples,
        "spearman": round(float(np.mean(correlations)), 4),
        "rms": round(float(np.sqrt(np.mean(squares))), 5),
        "expected": round(projection.dim**-0.5, 5),
    }


def spread(n: int, count: int) -> list[int]:
    """At most `count` of n positions, evenly spread; the same ones every time."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(int)).tolist() if n else []


def _reference(projection: Projection) -> Projection:
    if projection.input_dim <= max(_LARGER * projection.dim, _WHOLE):
        return Unprojected(projection.input_dim, projection.input_dim)
    return make_projection(
        projection.type,
        input_dim=projection.input_dim,
        dim=_LARGER * projection.dim,
        seed=projection.seed + 1,
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one; those that have no direction become zero."""
    rows = rows.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    usable = np.isfinite(length) & (length > 0)
    return np.where(usable, rows / np.where(usable, length, 1.0), 0.0)


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (np.argsort(np.argsort(values, kind="stable")) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])
