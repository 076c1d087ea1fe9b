"""What a selection covers: topics and sources against the pool, and each validation example."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gtp_core.atoms import Problem, remove
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection
from gtp_core.report.quality import combination
from gtp_core.trajectories import open_task, open_trajectories

_WEAK = 0.1  # cosine below which nothing in the pool speaks to an example
_AT_ONCE = 64  # validation examples whose products share a pass


def topic_shares(
    topic: np.ndarray, names: Sequence[str], supports: Mapping[str, np.ndarray]
) -> pl.DataFrame:
    """One row per topic: topic, pool (samples), share, then a rate for each selection.

    The rate is a selection's share of the topic over the pool's: 1 takes it as it comes.
    """
    codes = [int(code) for code in np.unique(topic[topic >= 0])]
    counts = {code: int((topic == code).sum()) for code in codes}
    whole = max(sum(counts.values()), 1)
    table: dict[str, list[object]] = {
        "topic": [names[code] for code in codes],
        "pool": [counts[code] for code in codes],
        "share": [counts[code] / whole for code in codes],
    }
    for name, support in supports.items():
        taken = topic[np.asarray(support, np.int64)]
        table[name] = [
            (taken == code).sum() / max(len(support), 1) / (counts[code] / whole) for code in codes
        ]
    return pl.DataFrame(table)


def source_topics(
    catalog: Catalog, topic: np.ndarray, names: Sequence[str], support: np.ndarray
) -> pl.DataFrame:
    """One row per source and topic that meet: source, topic, pool, chosen."""
    sources = catalog.query("SELECT source FROM samples ORDER BY row")["source"]
    chosen = np.zeros(len(topic), bool)
    chosen[support] = True
    table = pl.DataFrame({"source": sources, "code": topic, "chosen": chosen})
    met = table.filter(pl.col("code") >= 0).group_by("source", "code")
    found = met.agg(pl.len().alias("pool"), pl.col("chosen").sum()).sort("source", "code")
    named = (
        pl.Series(names).gather(found["code"]) if found.height else pl.Series([], dtype=pl.String)
    )
    return found.select("source", named.alias("topic"), "pool", "chosen")


def served(catalog: Catalog, problem: Problem, selections: Mapping[str, Selection]) -> pl.DataFrame:
    """How well each validation example of the task is served, worst first.

    Returns:
        example_id, subtask, a cosine of the example with each selection's weighted sum, in the
        problem's geometry; best: the highest cosine of any sample with it, nothing removed, and
        best_sample, which has it; weak: whether even that is below 0.1.

    Raises:
        TaskError: the problem aims at several tasks or the pool's mean, which have no one list.
    """
    task = problem.settings["task"]
    table = catalog.store.examples(task).select("example_id", "subtask")
    examples = open_task(catalog.store, task)
    usable = table.filter(pl.Series(_usable(catalog, task)))
    direction = None
    if problem.settings["common_direction"] == "removed":
        direction = catalog.common_direction()
    rows = _unit(remove(examples.rows, direction))
    for name, selection in selections.items():
        sums = _unit(combination(problem, selection)[None])[0]
        usable = usable.with_columns(pl.Series(name, rows @ sums))
    best, where = _best(catalog, examples.rows)
    ids = catalog.sample_ids().gather(where)
    first = next(iter(selections), "best")
    return usable.with_columns(
        pl.Series("best", best),
        ids.alias("best_sample"),
        pl.Series("weak", best < _WEAK),
    ).sort(first, "example_id")


def _usable(catalog: Catalog, task: str) -> np.ndarray:
    """(n_examples,) bool: those with a usable gradient at every checkpoint."""
    norms = [catalog.store.task_rows(task, c)[1] for c in range(len(catalog.store.checkpoints))]
    stacked = np.stack(norms, axis=1)
    return np.all(np.isfinite(stacked) & (stacked > 0), axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _best(catalog: Catalog, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Highest cosine of any sample with each example, and that sample's row."""
    trajectories = open_trajectories(catalog.store)
    valid = catalog.valid()
    best, where = [], []
    for start in range(0, len(examples), _AT_ONCE):
        cosines = trajectories.products(_unit(examples[start : start + _AT_ONCE]))
        cosines[~valid] = -1.0
        where.append(cosines.argmax(axis=0))
        best.append(cosines.max(axis=0).astype(np.float64))
    return np.concatenate(best), np.concatenate(where)


def served_sentence(table: pl.DataFrame, name: str) -> str:
    """What `served` found, in one sentence or two."""
    against = table.filter(pl.col(name) <= 0).height
    weak = table.filter("weak").height
    text = (
        f"{name} points towards {table.height - against:,} of {table.height:,} validation "
        f"examples and away from {against:,}."
    )
    if weak:
        text += f" For {weak:,} of them the pool has no sample with a cosine of 0.1: collect more."
    return text
