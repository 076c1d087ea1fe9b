"""When samples were made, where their original records say so."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog

DATE_FIELDS = (
    "date",
    "created",
    "created_at",
    "updated",
    "updated_at",
    "published",
    "published_at",
    "timestamp",
    "datetime",
    "time",
)
"""Fields of a record, or of its `metadata` or `meta`, that hold a date; the first that does."""

_INSIDE = ("metadata", "meta")
# Inside a string the quotes of a record are escaped, so a text that quotes JSON is not met.
_HOLDS = f'"({"|".join(DATE_FIELDS)})"\\s*:'
_MILLISECONDS = 1e11  # a number above it is no count of seconds: those end in the year 5138


def sample_dates(catalog: Catalog) -> np.ndarray:
    """(n_samples,) float64 seconds since 1970, NaN where a record holds no date.

    A date is ISO 8601, a year, a year and month, or a Unix time in seconds or milliseconds; without
    a time zone it is taken as UTC.
    """
    dates = np.full(catalog.store.n_samples, np.nan)
    records = catalog.store.samples().select("record").with_row_index("row")
    found = records.filter(pl.col("record").str.contains(_HOLDS)).collect()
    for row, record in found.rows():
        dates[row] = date_of(record)
    return dates


def date_of(record: str) -> float:
    """The date of one record in seconds since 1970; NaN where it holds none.

    Example:
        >>> date_of('{"prompt": "Hi", "date": "1970-01-02"}')
        86400.0
        >>> date_of('{"prompt": "no \\\\"date\\\\": 5"}')
        nan
    """
    try:
        said = json.loads(record)
    except (ValueError, RecursionError):
        return math.nan
    whole = said if isinstance(said, dict) else {}
    for place in (whole, *(whole.get(name) for name in _INSIDE)):
        known = place if isinstance(place, dict) else {}
        for name in DATE_FIELDS:
            seconds = _seconds(known.get(name))
            if not math.isnan(seconds):
                return seconds
    return math.nan


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        return math.nan
    if isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.nan
        return number / 1000 if abs(number) > _MILLISECONDS else number
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    text += {4: "-01-01", 7: "-01"}.get(len(text), "")
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
