"""What a curator may ask: one SELECT, or one condition; no files, no writing, not for long."""

import threading
from collections.abc import Sequence
from typing import Any

import duckdb
import polars as pl

from gtp_core.catalog.tables import TABLES
from gtp_core.errors import CatalogError

SANDBOX = (
    "temp_directory = ''",  # else a large sort writes into the working directory
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "enable_external_access = false",
    "memory_limit = '4GB'",
    "lock_configuration = true",
)
"""Settings that cannot be changed once they are made."""


def answered(
    cursor: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any], limit: int, seconds: float
) -> pl.DataFrame:
    """The answer to one SELECT, at most `limit` rows of it.

    Raises:
        CatalogError: not one SELECT, wrong SQL, or slower than `seconds`.
    """
    sql = sql.encode(errors="replace").decode()  # a lone surrogate would be a TypeError
    timer = threading.Timer(seconds, cursor.interrupt)
    timer.start()
    try:
        _check_statement(cursor, sql)
        limited = f"SELECT * FROM ({sql.strip().rstrip(';')}\n) LIMIT {limit}"
        return cursor.sql(limited, params=list(params)).pl()
    except duckdb.InterruptException:
        raise CatalogError(
            f"the query ran longer than {seconds:g} s. Narrow it with WHERE or LIMIT."
        ) from None
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        first = str(error).strip().splitlines()[0]
        raise CatalogError(
            f"DuckDB refuses the query ({first}). Mend it; the tables are {', '.join(TABLES)}."
        ) from None
    finally:
        timer.cancel()


def check_condition(cursor: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Refuse what is not one SQL condition, before it is put into a query in brackets.

    Raises:
        CatalogError: not one condition.
    """
    condition = condition.encode(errors="replace").decode()
    try:  # in other brackets than the query's, so that no condition can close both
        cursor.extract_statements(f"SELECT [{condition}\n]")
    except duckdb.Error:
        raise CatalogError(
            f"{condition!r} is not one SQL condition on the samples. "
            "Write one like: source = 'flan' AND n_tokens < 512."
        ) from None


def _check_statement(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = cursor.extract_statements(sql)
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise CatalogError(f"the query is {found}; write a single SELECT statement.")
