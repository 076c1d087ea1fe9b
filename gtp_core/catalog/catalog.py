"""The open catalog: DuckDB over a loaded store, with runs and edits registered on top."""

import contextlib
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from duckdb.func import FunctionNullHandling, PythonUDFType

from gtp_core.catalog.asking import SANDBOX, answered, check_condition
from gtp_core.catalog.edits import (
    LOG,
    Edit,
    Standing,
    active_edits,
    append_edit,
    last_of,
    read_edits,
)
from gtp_core.catalog.load import load
from gtp_core.catalog.tables import (
    EMPTY,
    LOADED,
    cluster_rows,
    edit_rows,
    gradients_of,
    run_rows,
)
from gtp_core.catalog.trials import trial_files, trial_rows
from gtp_core.catalog.workspace import (
    clusters_path,
    delete_run,
    list_runs,
    read_run,
    save_run,
    workspace_of,
)
from gtp_core.errors import CatalogError, RunError, TaskError
from gtp_core.store import Progress, Store, open_store


class Catalog:
    """A store, its database and its workspace, ready for queries from any number of threads.

    Attributes:
        store: the store.
        workspace: the folder of its runs, edits and derived files.

    Example:
        >>> catalog = open_catalog("data/demo")
        >>> catalog.query("SELECT count(*) AS n FROM samples")["n"].item()
        4000
        >>> catalog.close()
    """

    def __init__(self, store: Store, workspace: Path, database: Path) -> None:
        self.store = store
        self.workspace = workspace
        self._lock = threading.Lock()
        self._database = database
        self._known: tuple[tuple[str, ...], int, int, tuple[Any, ...]] | None = None
        self._connection = duckdb.connect(":memory:", config={"threads": 2})
        self._finalizer = weakref.finalize(self, self._connection.close)
        try:
            self._attach(database)
        except duckdb.Error:
            self.close()
            raise self._damaged() from None

    def close(self) -> None:
        """Let go of the database file. The catalog is of no use afterwards."""
        self._finalizer()

    def query(self, sql: str, params: Sequence[Any] = (), *, current: str = "") -> pl.DataFrame:
        """Run one of our own statements; parameters are $1, $2, ...

        With the name that `keep` gave a table, the statement sees that table as `current`.
        """
        self.refresh()
        with self._cursor(current) as cursor:
            try:
                return cursor.sql(sql, params=list(params)).pl()
            except _DAMAGE:
                raise self._damaged() from None

    def ask(
        self,
        sql: str,
        *,
        params: Sequence[Any] = (),
        limit: int = 1000,
        seconds: float = 10.0,
        current: str = "",
    ) -> pl.DataFrame:
        """Run a curator's statement: one SELECT, no files, at most `limit` rows and `seconds`.

        Besides the tables of TABLES it may call `gradient(row, checkpoint)`, which reads a unit
        gradient from the store's memory map as FLOAT[]; nothing is copied into the database.

        Raises:
            CatalogError: not one SELECT, wrong SQL, or too slow.
        """
        self.refresh()
        with self._cursor(current) as cursor:
            return answered(cursor, sql, params, limit, seconds)

    def rows_where(self, condition: str) -> np.ndarray:
        """Row numbers of the samples that meet an SQL condition on the table `samples`.

        Raises:
            CatalogError: not one condition, wrong SQL, or too slow.
        """
        self.check_condition(condition)
        limit = self.store.n_samples
        found = self.ask(f"SELECT row FROM samples WHERE ({condition}\n)", limit=limit)
        return found["row"].to_numpy()

    def check_condition(self, condition: str) -> None:
        """Refuse what is not one SQL condition, before it is put into a query in brackets.

        Raises:
            CatalogError: not one condition.
        """
        with self._connection.cursor() as cursor:
            check_condition(cursor, condition)

    def keep(self, table: pl.DataFrame) -> str:
        """Make a table that lives as long as this catalog; the name that `query` knows it by."""
        name = f"kept_{uuid.uuid4().hex}"
        with self._connection.cursor() as cursor:
            cursor.register("incoming", table)
            cursor.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
            cursor.unregister("incoming")
        return name

    def forget(self, name: str) -> None:
        """Drop what `keep` made."""
        with contextlib.suppress(duckdb.Error), self._connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")

    @contextmanager
    def _cursor(self, current: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for every call; a temporary view is seen by it alone."""
        with self._connection.cursor() as cursor:
            if current:
                cursor.execute(f"CREATE TEMP VIEW current AS SELECT * FROM {current}")
            yield cursor

    def refresh(self) -> None:
        """Register runs and edits that appeared on disk since the last look, by anyone."""
        with self._lock:
            log, saved = self.workspace / LOG, clusters_path(self.workspace, self.store.digest)
            size = log.stat().st_size if log.exists() else 0
            written = saved.stat().st_mtime_ns if saved.exists() else 0
            trained = trial_files(self.workspace)
            seen = (tuple(list_runs(self.workspace)), size, written, trained)
            if seen == self._known:
                return
            with self._connection.cursor() as cursor:
                cursor.execute("BEGIN")
                old = self._known[0] if self._known else ()
                if set(old) - set(seen[0]):
                    for table in ("runs", "selections", "verdicts"):
                        cursor.execute(f"DELETE FROM {table}")
                    old = ()
                for run_id in seen[0]:
                    if run_id not in old:
                        self._register_run(cursor, run_id)
                self._register_edits(cursor)
                if self._known is None or self._known[2] != written:
                    self._register_clusters(cursor, saved)
                if self._known is None or self._known[3] != trained:
                    self._register_trials(cursor)
                cursor.execute("COMMIT")
            self._known = seen

    def influence(self, task: str) -> np.ndarray:
        """LESS's influence (n_samples,) float32 of every sample on a task; NaN where invalid."""
        self.store.task(task)
        table = self.query("SELECT influence FROM influences WHERE task = $1 ORDER BY row", [task])
        if table.is_empty():
            raise TaskError(
                f"task {task!r} has no validation examples; a target needs at least one. "
                f"Choose one of {', '.join(self.store.task_names)}."
            )
        return table["influence"].cast(pl.Float32).fill_null(float("nan")).to_numpy()

    def valid(self) -> np.ndarray:
        """(n_samples,) bool: the samples with a usable gradient at every checkpoint."""
        return self.query("SELECT valid FROM health ORDER BY row")["valid"].to_numpy()

    def common_direction(self) -> np.ndarray:
        """Unit mean direction of the valid samples per checkpoint: (n_checkpoints, dim) float64."""
        table = self.query("SELECT common_direction FROM checkpoints ORDER BY position")
        return np.array(table["common_direction"].to_list(), dtype=np.float64)

    def sample_ids(self) -> pl.Series:
        """(n_samples,) ids in row order."""
        return self.query("SELECT sample_id FROM samples ORDER BY row")["sample_id"]

    def rows_of(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Row numbers of these ids, in their order.

        Raises:
            CatalogError: an id that is not in the store.
        """
        wanted = pl.DataFrame({"sample_id": list(sample_ids)}, schema={"sample_id": pl.String})
        sql, params = "SELECT sample_id, row FROM samples", []
        if len(wanted) <= _FEW:
            sql += " WHERE sample_id IN (SELECT unnest($1::VARCHAR[]))"
            params = [wanted["sample_id"].to_list()]
        known = self.query(sql, params)
        found = wanted.join(known, on="sample_id", how="left", maintain_order="left")
        missing = found.filter(pl.col("row").is_null())["sample_id"].to_list()
        if missing:
            raise CatalogError(
                f"{len(missing):,} of {len(found):,} sample ids are not in this store, "
                f"{missing[0]!r} among them. Check that the list belongs to {self.store.store_id}."
            )
        return found["row"].to_numpy()

    def texts(self, rows: np.ndarray) -> pl.DataFrame:
        """row, sample_id, source, prompt, completion, n_tokens of these rows, in their order."""
        wanted = pl.DataFrame({"row": np.asarray(rows, dtype=np.int64)})
        found = self.query(
            "SELECT * FROM samples WHERE row IN (SELECT unnest($1::BIGINT[]))",
            [wanted["row"].to_list()],
        )
        return wanted.join(found, on="row", how="left", maintain_order="left")

    def save_run(self, run: dict[str, Any], tables: dict[str, pl.DataFrame]) -> None:
        """Keep a run in the workspace; it appears in `runs`, `selections` and `verdicts`."""
        save_run(self.workspace, run, tables)

    def read_run(self, run_id: str) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """A saved run and its tables, as `save_run` took them."""
        return read_run(self.workspace, run_id)

    def delete_run(self, run_id: str) -> None:
        """Forget a run."""
        delete_run(self.workspace, run_id)

    def list_runs(self) -> list[str]:
        """Ids of the saved runs, oldest first."""
        return list_runs(self.workspace)

    def edit(
        self,
        what: str,
        *,
        who: str,
        sample_id: str = "",
        sample_ids: Sequence[str] = (),
        value: str = "",
        undoes: int = 0,
    ) -> Edit:
        """Append a pin, ban, tag, keeper or undo to the edit log.

        With `sample_ids` it is one edit of many samples: written at once and undone at once.
        """
        if sample_id or sample_ids:
            self.rows_of([*sample_ids, *([sample_id] if sample_id else [])])
        return append_edit(
            self.workspace,
            who=who,
            what=what,
            sample_id=sample_id,
            sample_ids=sample_ids,
            value=value,
            undoes=undoes,
        )

    def sources(self) -> list[str]:
        """The names of the pool's sources, the largest first."""
        sql = "SELECT source FROM samples GROUP BY source ORDER BY count(*) DESC, source"
        return self.query(sql)["source"].to_list()

    def tags(self) -> list[str]:
        """The tags in force, in their order."""
        return self.query("SELECT DISTINCT tag FROM tags ORDER BY tag")["tag"].to_list()

    def revision(self) -> str:
        """Another one after every edit, by anyone: what answers about edits may be kept by."""
        log = self.workspace / LOG
        return str(log.stat().st_size if log.exists() else 0)

    def edits(self) -> list[Edit]:
        """The edits in force: the log without what was undone."""
        return active_edits(read_edits(self.workspace))

    def undo(self, who: str) -> Edit | None:
        """Take back the newest edit in force that `who` made; what it was, or None."""
        last = last_of(self.edits(), who)
        if last is not None:
            self.edit("undo", who=who, undoes=last.edit)
        return last

    def standing(self) -> Standing:
        """The pins and bans that the next problem is to honour.

        Of an id that this store does not know, and of a pin whose gradient is not usable, nothing
        can come: they are left out.
        """
        found = self.query(
            "SELECT sample_id, mark FROM marks JOIN health USING (sample_id)"
            " WHERE mark = 'ban' OR valid ORDER BY row"
        )
        ids = {mark: tuple(found.filter(mark=mark)["sample_id"]) for mark in ("pin", "ban")}
        return Standing(ids["pin"], ids["ban"])

    def _attach(self, database: Path) -> None:
        connection = self._connection
        connection.execute(
            f"ATTACH '{str(database).replace(chr(39), chr(39) * 2)}' AS loaded (READ_ONLY)"
        )
        for table in LOADED:
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM loaded.main.{table}")
        for table, columns in EMPTY.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
        connection.create_function(
            "gradient",
            partial(gradients_of, self.store),
            [duckdb.sqltypes.BIGINT, duckdb.sqltypes.VARCHAR],
            duckdb.list_type(duckdb.sqltypes.FLOAT),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
        for setting in SANDBOX:
            connection.execute(f"SET {setting}")

    def _damaged(self) -> CatalogError:
        return CatalogError(
            f"{self._database} is damaged or no catalog. Delete it; it is rebuilt from the store "
            "at the next opening."
        )

    def _register_run(self, cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
        """Add a run's rows, unless it is damaged or just deleted: `read_run` says which."""
        try:
            tables = run_rows(run_id, *read_run(self.workspace, run_id))
        except (RunError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError):
            return
        for name, table in tables.items():
            cursor.register("incoming", table)
            cursor.execute(f"INSERT INTO {name} SELECT * FROM incoming")
            cursor.unregister("incoming")

    def _register_clusters(self, cursor: duckdb.DuckDBPyConnection, saved: Path) -> None:
        """The saved duplicate clusters; none where they are absent or damaged: they are derived."""
        try:
            tables = cluster_rows(pl.read_parquet(saved, glob=False))
        except (OSError, pl.exceptions.PolarsError):
            tables = {}
        self._replace(cursor, ("clusters", "dropped"), tables)

    def _register_trials(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """What `verify` kept; of a file that holds something else than a trial, nothing."""
        try:
            tables = trial_rows(self.workspace, self.store.digest)
        except (TypeError, AttributeError, pl.exceptions.PolarsError):
            tables = {}
        self._replace(cursor, ("trials", "trial_curves"), tables)

    def _replace(
        self,
        cursor: duckdb.DuckDBPyConnection,
        names: Sequence[str],
        tables: Mapping[str, pl.DataFrame],
    ) -> None:
        """Give these tables new rows; those that are not told have none."""
        for name in names:
            cursor.execute(f"DELETE FROM {name}")
            if name in tables:
                cursor.register("incoming", tables[name])
                cursor.execute(f"INSERT INTO {name} SELECT * FROM incoming")
                cursor.unregister("incoming")

    def _register_edits(self, cursor: duckdb.DuckDBPyConnection) -> None:
        log = read_edits(self.workspace)
        self._replace(cursor, ("edits", "tags", "marks"), edit_rows(log) if log else {})


_FEW = 1000  # ids up to which DuckDB looks for them; above, reading all of them is as fast
_DAMAGE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
)


def open_catalog(
    store: Store | Path | str,
    *,
    workspace: Path | str | None = None,
    progress: Progress | None = None,
) -> Catalog:
    """Open a store's catalog, loading the store first if this was never done.

    Args:
        store: a Store or the path of one.
        workspace: where to keep runs, edits and the database; by default the store's own folder,
            or a folder of the user's when the store is read-only.
        progress: called while loading.

    Raises:
        StoreError: the folder is no store.
        CatalogError: the workspace cannot be written to, or ids repeat.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    folder = workspace_of(opened, workspace)
    return Catalog(opened, folder, load(opened, folder, progress))
