"""Load a store into its DuckDB file: one streamed pass over the gradients, resumable by part.

Every part's numbers are staged as a small file written whole; when all are there, the database is
built under a temporary name and renamed. A kill at any moment loses at most the part in hand, and
two processes that load the same store do not disturb each other.
"""

import contextlib
import shutil
import uuid
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from gtp_core.errors import CatalogError, TaskError
from gtp_core.store import Progress, Store, Task, written_whole
from gtp_core.trajectories import (
    TaskTrajectories,
    column_sums,
    open_task,
    products,
    step_weights,
    valid_rows,
)

SCHEMA_VERSION = 1
_SMALL = 10**8  # gradient numbers in a store up to which NumPy is done before numba has started
_REASONS = {
    "nan": "the gradient is NaN",
    "inf": "the gradient is infinite",
    "zero": "the gradient is zero",
}


def database_path(store: Store, workspace: Path) -> Path:
    """The name of a store's database: another manifest or schema is another file."""
    return workspace / f"catalog-{store.digest[:16]}-{SCHEMA_VERSION}.duckdb"


def load(store: Store, workspace: Path, progress: Progress | None = None) -> Path:
    """Build the database of a store unless it is there already; its path.

    Raises:
        CatalogError: sample ids repeat, the samples do not match the manifest, or a file cannot
            be read or written.
    """
    path = database_path(store, workspace)
    try:
        if not path.exists():
            _load(store, workspace, path, progress)
    except (OSError, duckdb.Error, pl.exceptions.PolarsError) as error:
        if not path.exists():  # else another process finished first and took the staging away
            first = str(error).strip().splitlines()[0]
            raise CatalogError(
                f"loading {store.folder} into {workspace} failed ({first}). Check the space on "
                "the disk, then the store with `inspect --verify`."
            ) from error
    return path


def _load(store: Store, workspace: Path, path: Path, progress: Progress | None) -> None:
    staging = workspace / f"loading-{store.digest[:16]}-{SCHEMA_VERSION}"
    staging.mkdir(exist_ok=True)
    tasks = _usable_tasks(store)
    n_parts = len(store.manifest.parts)
    for part in range(n_parts):
        if progress:
            progress(part, n_parts + 1, f"reading gradients, part {part + 1} of {n_parts}")
        _stage_part(store, part, tasks, staging)
    if progress:
        progress(n_parts, n_parts + 1, "writing tables")
    _build(store, staging, tasks, path)
    shutil.rmtree(staging, ignore_errors=True)
    if progress:
        progress(n_parts + 1, n_parts + 1, "loaded")


def _usable_tasks(store: Store) -> dict[str, TaskTrajectories]:
    """The tasks that can be aimed at: one with no usable gradient must not block the rest."""
    usable = {}
    for name in store.task_names:
        with contextlib.suppress(TaskError):
            usable[name] = open_task(store, name)
    return usable


def _stage_part(store: Store, part: int, tasks: dict[str, TaskTrajectories], staging: Path) -> None:
    """Norms, influences and gradient sums of one part, as two small files."""
    numbers, sums = staging / f"{part:05d}.parquet", staging / f"{part:05d}.npy"
    if numbers.exists() and sums.exists():
        return
    rows = [store.part_rows(part, c) for c in range(len(store.checkpoints))]
    norms = np.stack([norm for _, norm in rows], axis=1)
    valid = valid_rows(norms)
    with written_whole(sums) as temporary, open(temporary, "wb") as handle:
        sums_of = _plain_sums if _is_small(store) else column_sums
        np.save(handle, np.stack([sums_of(unit, valid) for unit, _ in rows]))
    columns = {"norms": _lists(norms), "valid": pl.Series(valid)}
    for name, task in tasks.items():
        columns |= _influences([unit for unit, _ in rows], task, store, name)
    with written_whole(numbers) as temporary:
        pl.DataFrame(columns).write_parquet(temporary)


def _influences(
    rows: list[np.ndarray], task: TaskTrajectories, store: Store, name: str
) -> dict[str, pl.Series]:
    """LESS's influence (max over subtasks), the subtask that gives it, and its checkpoint parts."""
    eta = step_weights(store.checkpoints)
    pieces = np.split(task.targets(), len(eta), axis=1)
    products_of = _plain_products if _is_small(store) else products
    by_checkpoint = np.stack(
        [
            products_of(unit, np.sqrt(e) * piece)
            for unit, e, piece in zip(rows, eta, pieces, strict=True)
        ],
        axis=1,
    )
    total = by_checkpoint.sum(axis=1)
    best = total.argmax(axis=1)
    parts = np.take_along_axis(by_checkpoint, best[:, None, None], axis=2)[:, :, 0]
    return {
        f"influence/{name}": pl.Series(np.take_along_axis(total, best[:, None], 1)[:, 0]),
        f"subtask/{name}": pl.Series(best.astype(np.int32)),
        f"parts/{name}": _lists(parts),
    }


def _is_small(store: Store) -> bool:
    """Decided by the whole store, so that every part of it is summed in the same way."""
    return store.n_samples * store.dim * len(store.checkpoints) <= _SMALL


def _plain_products(rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ij,kj->ik", rows.astype(np.float32), vectors.astype(np.float32))


def _plain_sums(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return np.einsum("i,ij->j", factor.astype(np.float64), rows.astype(np.float64))


def _lists(matrix: np.ndarray) -> pl.Series:
    array = pl.Series(np.ascontiguousarray(matrix, np.float32))
    return array.arr.to_list() if matrix.ndim == 2 else array


def _build(store: Store, staging: Path, tasks: dict[str, TaskTrajectories], path: Path) -> None:
    # In the staging folder, so that what a kill leaves behind goes with it.
    temporary = staging / f"{uuid.uuid4().hex}.duckdb"
    with duckdb.connect(str(temporary)) as connection:
        connection.execute("SET preserve_insertion_order = true")
        _write_samples(connection, store)
        _check_samples(connection, store)
        _write_numbers(connection, store, staging, tasks)
        _write_store_tables(connection, store, staging, tasks)
    temporary.replace(path)


def _write_samples(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    connection.execute(
        "CREATE TABLE samples (row BIGINT, sample_id VARCHAR, source VARCHAR, prompt VARCHAR,"
        " completion VARCHAR, n_tokens BIGINT)"
    )
    start = 0
    for part in store.manifest.parts:
        path = store.folder / part.files[0].path
        found = connection.execute(
            "INSERT INTO samples SELECT $1 + file_row_number, sample_id, source, prompt,"
            " completion, n_tokens FROM read_parquet($2, file_row_number = true)",
            [start, str(path)],
        ).fetchall()[0][0]
        if found != part.rows:
            raise CatalogError(
                f"{path} has {found:,} rows; the manifest wants {part.rows:,}, one for every "
                "gradient. Restore the file or rebuild the store."
            )
        start += part.rows


def _check_samples(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    count, distinct, empty = connection.execute(
        "SELECT count(*), count(DISTINCT sample_id),"
        " count(*) FILTER (sample_id IS NULL OR source IS NULL OR n_tokens IS NULL) FROM samples"
    ).fetchall()[0]
    if empty:
        raise CatalogError(
            f"{empty:,} samples of {store.folder} have no sample_id, source or n_tokens; all need "
            "them. Fill them in and rebuild the store."
        )
    if distinct < count:
        twice = connection.execute(
            "SELECT sample_id FROM samples GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        ).fetchall()[0][0]
        raise CatalogError(
            f"{count - distinct:,} sample ids of {store.folder} are repeated, {twice!r} among "
            "them; ids must be unique. Rename the samples and rebuild the store."
        )


def _write_numbers(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    staging: Path,
    tasks: dict[str, TaskTrajectories],
) -> None:
    """The tables `health` and `influences`, part after part."""
    connection.execute(
        "CREATE TABLE health (row BIGINT, sample_id VARCHAR, valid BOOLEAN, reason VARCHAR,"
        " norms FLOAT[])"
    )
    connection.execute(
        "CREATE TABLE influences (row BIGINT, sample_id VARCHAR, task VARCHAR, influence FLOAT,"
        " subtask VARCHAR, by_checkpoint FLOAT[])"
    )
    start = 0
    for index, part in enumerate(store.manifest.parts):
        numbers = pl.read_parquet(staging / f"{index:05d}.parquet", glob=False)
        numbers = numbers.with_row_index("row", offset=start).with_columns(
            pl.col("row").cast(pl.Int64)
        )
        _insert(connection, "health", _health(numbers))
        for name, task in tasks.items():
            _insert(connection, "influences", _influence_table(numbers, name, task))
        start += part.rows


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> None:
    """Append rows that lack only `sample_id`, which is taken from the samples table."""
    connection.register("incoming", rows)
    names = ", ".join(
        "samples.sample_id" if name == "sample_id" else f"incoming.{name}"
        for (name,) in connection.execute(
            f"SELECT name FROM pragma_table_info('{table}') ORDER BY cid"
        ).fetchall()
    )
    connection.execute(
        f"INSERT INTO {table} SELECT {names} FROM incoming JOIN samples"
        " ON samples.row = incoming.row ORDER BY incoming.row"
    )
    connection.unregister("incoming")


def _health(numbers: pl.DataFrame) -> pl.DataFrame:
    norms = pl.col("norms").list
    reason = (
        pl.when(norms.eval(pl.element().is_nan()).list.any())
        .then(pl.lit(_REASONS["nan"]))
        .when(norms.eval(pl.element().is_infinite()).list.any())
        .then(pl.lit(_REASONS["inf"]))
        .when(norms.eval(pl.element() == 0).list.any())
        .then(pl.lit(_REASONS["zero"]))
    )
    return numbers.select("row", "valid", reason.alias("reason"), "norms")


def _influence_table(numbers: pl.DataFrame, name: str, task: TaskTrajectories) -> pl.DataFrame:
    names = dict(enumerate(task.subtasks))
    return numbers.select(
        "row",
        pl.lit(name).alias("task"),
        pl.when("valid").then(pl.col(f"influence/{name}")).alias("influence"),
        pl.col(f"subtask/{name}").replace_strict(names, return_dtype=pl.String).alias("subtask"),
        pl.col(f"parts/{name}").alias("by_checkpoint"),
    )


def _write_store_tables(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    staging: Path,
    tasks: dict[str, TaskTrajectories],
) -> None:
    """The small tables `checkpoints`, `tasks` and `examples`."""
    eta = step_weights(store.checkpoints)
    sums = sum(np.load(staging / f"{p:05d}.npy") for p in range(len(store.manifest.parts)))
    n_valid = connection.execute("SELECT count(*) FROM health WHERE valid").fetchall()[0][0]
    means = np.asarray(sums) / max(n_valid, 1)
    lengths = np.linalg.norm(means, axis=1)
    checkpoints = pl.DataFrame(
        {
            "checkpoint": [c.name for c in store.checkpoints],
            "position": range(len(eta)),
            "step": [c.step for c in store.checkpoints],
            "step_size": [c.step_size for c in store.checkpoints],
            "eta": eta,
            "coherence": [_coherence(length, n_valid) for length in lengths],
            "common_direction": (means / np.maximum(lengths, 1e-30)[:, None]).tolist(),
        }
    )
    task_rows = [
        (t.name, t.n_examples, len(t.subtasks), _n_invalid(t, tasks)) for t in store.manifest.tasks
    ]
    task_table = pl.DataFrame(
        task_rows, schema=["task", "n_examples", "n_subtasks", "n_invalid"], orient="row"
    )
    for name, table in (("checkpoints", checkpoints), ("tasks", task_table)):
        _create(connection, name, table)
    examples = [
        store.examples(t).select(pl.lit(t).alias("task"), *("example_id", "subtask"), *_TEXTS)
        for t in store.task_names
    ]
    empty = pl.DataFrame(
        schema=dict.fromkeys(("task", "example_id", "subtask", *_TEXTS), pl.String)
    )
    _create(connection, "examples", pl.concat([empty, *examples]))


_TEXTS = ("prompt", "completion")


def _n_invalid(task: Task, usable: dict[str, TaskTrajectories]) -> int:
    return usable[task.name].n_invalid if task.name in usable else task.n_examples


def _coherence(length: float, n_valid: int) -> float | None:
    """Mean cosine of two different rows, from the length of the mean unit row."""
    if n_valid < 2:
        return None
    return float((n_valid**2 * length**2 - n_valid) / (n_valid * (n_valid - 1)))


def _create(connection: duckdb.DuckDBPyConnection, name: str, table: pl.DataFrame) -> None:
    connection.register("incoming", table)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")
