"""The validation side: which examples a sample pulls, and which examples nothing serves."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gtp_core.atoms import POOL, Problem, StoredAtoms
from gtp_core.atoms.aims import read_aim
from gtp_core.atoms.block import remove
from gtp_core.catalog import Catalog
from gtp_core.report.fitted import combined
from gtp_core.report.why.judged import Case, Judged
from gtp_core.trajectories import open_task, valid_rows

MOST_WORK = 2e11  # multiplications; beyond, the pool is not searched for whom an example needs
_COLUMNS = ("task", "example_id", "subtask", "prompt", "completion")
WEAK = 0.1  # of an example's length: no sample of the pool points towards it by as much


@dataclass(frozen=True)
class Examples:
    """Validation examples in a problem's geometry.

    Attributes:
        table: task, example_id, subtask, prompt, completion of each.
        rows: (n_examples, dim) float64.
        subtasks: names of the subtasks, in the order of the problem's columns.
    """

    table: pl.DataFrame
    rows: np.ndarray
    subtasks: tuple[str, ...]


def examples_of(catalog: Catalog, problem: Problem) -> Examples:
    """The usable validation examples that a problem's target rests on; none of the pool's mean."""
    tables, rows, subtasks = [], [], []
    settings = problem.settings
    for task in (name for name in read_aim(settings["task"]) if name != POOL):
        raw = settings.get("gradients") == "raw"
        found = open_task(catalog.store, task, settings.get("checkpoints"), raw=raw)
        norms = [catalog.store.task_rows(task, t)[1] for t in range(len(catalog.store.checkpoints))]
        valid = pl.Series(valid_rows(np.stack(norms, axis=1)))
        known = catalog.store.examples(task).filter(valid)
        tables.append(known.with_columns(task=pl.lit(task)))
        rows.append(found.rows)
        subtasks += [name or task for name in found.subtasks]
    if not rows:
        empty = pl.DataFrame(schema=dict.fromkeys(_COLUMNS, pl.String))
        return Examples(empty, np.empty((0, problem.atoms.dim)), ())
    atoms = problem.atoms
    direction = atoms.direction if isinstance(atoms, StoredAtoms) else None
    table = pl.concat(tables).select(_COLUMNS)
    return Examples(table, remove(np.vstack(rows), direction), tuple(subtasks))


def pulled(judged: Judged, found: Case, examples: Examples, count: int = 5) -> pl.DataFrame:
    """The examples a sample points towards most, and those it points away from most.

    Returns:
        cosine, task, example_id, subtask and the texts; the largest first, `count` from either
        end.
    """
    atom = judged.problem.atoms.rows(np.array([found.row]))[0].astype(np.float64)
    cosines = pl.Series("cosine", _cosines(examples.rows, atom))
    table = examples.table.clone().insert_column(0, cosines)
    table = table.sort("cosine", "example_id", descending=[True, False])
    if table.height <= 2 * count:
        return table
    return pl.concat([table.head(count), table.tail(count)])


def served(judged: Judged, examples: Examples) -> pl.DataFrame:
    """How well the selection serves every example, and whether anything in the pool could.

    Returns:
        example_id; `cosine` of the chosen samples' weighted sum with it; `best`: the strongest pull
        of a sample that may be chosen, relative to the example's length, null where looking through
        the pool would take more than MOST_WORK multiplications;
        `nobody`: no such pull reaches 0.1; task, subtask and the texts. The worst served first.
    """
    total = combined(judged.fitted.rows, judged.selection.weights[:, None])[0]
    best = _best_in_pool(judged.problem, examples.rows)
    table = examples.table.with_columns(
        cosine=pl.Series(_cosines(examples.rows, total)), best=pl.Series(best).fill_nan(None)
    ).with_columns(nobody=pl.col("best") < WEAK)
    first = ("example_id", "cosine", "best", "nobody", "task", "subtask")
    return table.select(*first, "prompt", "completion").sort("cosine", "example_id")


def served_sentence(table: pl.DataFrame) -> str:
    """What to know of the examples' coverage, in one sentence."""
    if table.is_empty():
        return "The target is the pool's own mean; there are no validation examples to serve."
    away = table.filter(pl.col("cosine") <= 0).height
    text = f"The selection points towards {table.height - away:,} of {table.height:,} examples"
    if table["best"].null_count():
        return f"{text}; the pool was not searched for the others, for that would take too long."
    nobody = table.filter(pl.col("nobody"))
    if nobody.is_empty():
        return f"{text}; for every example some sample of the pool pulls at least {WEAK:g}."
    names = ", ".join(nobody["example_id"].to_list()[:3])
    return (
        f"{text}; the pool has nothing that pulls at least {WEAK:g} towards {nobody.height:,} of "
        f"them ({names}): data to collect."
    )


def _best_in_pool(problem: Problem, rows: np.ndarray) -> np.ndarray:
    """(n_examples,) largest <atom, example> / |example| over the candidates; NaN if too much."""
    best = np.full(len(rows), np.nan)
    if len(rows) * problem.atoms.n_samples * problem.atoms.dim > MOST_WORK:
        return best
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-300)
    for begin in range(0, len(rows), 32):
        some = slice(begin, begin + 32)
        products = problem.atoms.products(rows[some] / lengths[some, None])
        best[some] = products[problem.atoms.candidates].max(axis=0, initial=-1.0)
    return best


def _cosines(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return (rows @ vector) / np.maximum(lengths, 1e-300)
