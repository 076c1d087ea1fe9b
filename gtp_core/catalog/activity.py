"""What people did to a store: the edit log to read, the tags and marks in force, the saved runs."""

import polars as pl

from gtp_core.catalog.catalog import Catalog


def history(catalog: Catalog, limit: int = 500) -> pl.DataFrame:
    """The newest edits first: edit, time, who, what, samples, value, state.

    `samples` is the id, or how many; `state` is `in force`, `undone`, or of an undo what it undid.
    """
    return catalog.query(
        """
        SELECT edit, time, who, what,
          CASE WHEN count(*) > 1 THEN format('{:,} samples', count(*))
               ELSE any_value(sample_id) END AS samples,
          value,
          CASE WHEN what = 'undo' THEN format('undid {}', undoes)
               WHEN edit IN (SELECT undoes FROM edits WHERE what = 'undo') THEN 'undone'
               ELSE 'in force' END AS state
        FROM edits GROUP BY edit, time, who, what, value, undoes ORDER BY edit DESC LIMIT $1
        """,
        [limit],
    )


def labels(catalog: Catalog) -> pl.DataFrame:
    """Marks and tags in force with how many samples have each: kind (mark or tag), value, n."""
    return catalog.query(
        "SELECT 'mark' AS kind, mark AS value, count(*) AS n FROM marks GROUP BY mark"
        " UNION ALL SELECT 'tag', tag, count(*) FROM tags GROUP BY tag ORDER BY kind, n DESC, value"
    )


def saved_runs(catalog: Catalog) -> pl.DataFrame:
    """The saved runs, newest first: what was asked, how many chosen, residuals, why it ended."""
    order = {run: place for place, run in enumerate(reversed(catalog.list_runs()))}
    runs = catalog.query(
        "SELECT run, method, task, budget, n_selected, residual_weighted, residual_as_trained,"
        " held_out_match, held_out_ceiling, stop FROM runs"
    )
    known = pl.col("run").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    return runs.sort(known, maintain_order=True)
