"""What the projection costs in truth: influences at the store's dimension against a larger one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtp_core.collect.checkpoints import AdapterState
from gtp_core.collect.encode import Encoded
from gtp_core.collect.projection import Projection, Unprojected, make_projection
from gtp_core.collect.work import Collection, RowMaker

SAMPLES = 256
EXAMPLES = 32
_LARGER = 4
_WHOLE = 65_536


def measured_error(collection: Collection, rows: Mapping[str, int]) -> dict[str, Any] | None:
    """The projection's error for a collection's tasks, at all of its checkpoints.

    Args:
        rows: of every part that samples are taken of, evenly spread over all of them.
    """
    tasks = {
        task: [examples[i] for i in spread(len(examples), EXAMPLES)]
        for task, examples in collection.tasks.items()
    }
    wanted = np.array(spread(sum(rows.values()), SAMPLES), dtype=int)
    texts: list[Encoded] = []
    first = 0
    for name, count in rows.items() if tasks else ():
        inside = wanted[(wanted >= first) & (wanted < first + count)] - first
        texts += collection.part_texts(name, inside.tolist()) if len(inside) else []
        first += count
    return projection_error(
        collection.maker, collection.states, texts, tasks, kinds=collection.kinds
    )


def projection_error(
    maker: RowMaker,
    states: Sequence[AdapterState],
    samples: Sequence[Encoded],
    tasks: Mapping[str, Sequence[Encoded]],
    *,
    kinds: Mapping[str, str],
) -> dict[str, Any] | None:
    """How far influences at this dimension are from those at a larger one, on a sample.

    An influence is over all checkpoints, weighed as in a trajectory. The reference is the gradient
    itself where it has at most four times as many numbers or 65,536, and else a projection four
    times as long with another seed. None where nothing is projected, or where there is nothing to
    compare.

    Returns:
        `dim` and `against` (the reference's length), `samples`, `examples` and `checkpoints` that
        were compared, `spearman` (rank correlation of influences, the mean over tasks), `rms` (of
        the difference of two influences), `expected` (1 / sqrt(dim), what theory gives for the
        cosine of two unit rows) and `tasks`: `spearman`, `rms` and `samples` of each.
    """
    projection = maker.projections[0]
    if isinstance(projection, Unprojected) or not tasks or len(samples) < 2:
        return None
    reference = _reference(projection)
    influences = _influences(maker, states, reference, samples, tasks, kinds)
    found = {
        name: {
            "spearman": round(_spearman(small, large), 4),
            "rms": round(float(np.sqrt(np.mean((small - large) ** 2))), 5),
            "samples": len(samples),
        }
        for name, (small, large) in influences.items()
    }
    return {
        "dim": projection.dim,
        "against": reference.dim,
        "samples": len(samples),
        "examples": sum(map(len, tasks.values())),
        "checkpoints": len(states),
        **_means(found),
        "expected": round(projection.dim**-0.5, 5),
        "tasks": found,
    }


def with_tasks(
    before: Mapping[str, Any] | None, new: Mapping[str, Any] | None, names: Sequence[str]
) -> dict[str, Any] | None:
    """What was measured before, and for tasks that were added; a mean over all of them.

    Args:
        names: of the tasks before: those without a figure of their own take the mean they are in.
    """
    if before is None or new is None:
        return dict(new or before or {}) or None
    mean = {name: before[name] for name in ("spearman", "rms", "samples")}
    tasks = dict.fromkeys(names, mean) | before.get("tasks", {}) | new["tasks"]
    examples = before["examples"] + new["examples"]
    return {**new, "examples": examples, **_means(tasks), "tasks": tasks}


def _means(tasks: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    told = list(tasks.values())
    return {
        "spearman": round(float(np.mean([one["spearman"] for one in told])), 4),
        "rms": round(float(np.sqrt(np.mean([one["rms"] ** 2 for one in told]))), 5),
    }


def _influences(
    maker: RowMaker,
    states: Sequence[AdapterState],
    reference: Projection,
    samples: Sequence[Encoded],
    tasks: Mapping[str, Sequence[Encoded]],
    kinds: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """Per task, influences of the samples by both projections: (2, n_samples)."""
    both = RowMaker(
        maker.source,
        [maker.projections[0], reference],
        max_batch_tokens=maker.max_batch_tokens,
        max_batch_samples=maker.max_batch_samples,
    )
    maker.leave()
    sizes = np.array([state.checkpoint.step_size for state in states])
    found = {name: np.zeros((2, len(samples))) for name in tasks}
    for state, weight in zip(states, sizes / sizes.sum(), strict=True):
        both.move_to(state)
        units = [_unit(rows) for rows in both.rows(samples, kinds["samples"])]
        for name, texts in tasks.items():
            targets = [_unit(rows).mean(axis=0) for rows in both.rows(texts, kinds["tasks"])]
            pairs = zip(units, targets, strict=True)
            found[name] += weight * np.stack([rows @ target for rows, target in pairs])
    return found


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
