"""A region of the map: what is in it, and in what it differs from the pool."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.neighbors.layout import Map

_CORNERS = 60  # of a lasso that are kept: what a link can carry
_STEPS = 999  # places a corner can have along a side
_BINS = 20


def spell_region(corners: np.ndarray) -> str:
    """A polygon (n, 2) in the unit square as short text: at most 60 corners."""
    if len(corners) > _CORNERS:
        corners = corners[np.linspace(0, len(corners) - 1, _CORNERS).round().astype(int)]
    steps = np.clip(np.round(np.asarray(corners, float) * _STEPS), 0, _STEPS).astype(int)
    return "_".join(f"{x}.{y}" for x, y in steps.tolist())


def read_region(text: str) -> np.ndarray | None:
    """The polygon of `spell_region`; None if it is none.

    Example:
        >>> read_region("0.0_999.0_999.999").shape
        (3, 2)
    """
    try:
        found = [[int(part) for part in corner.split(".")] for corner in text.split("_")]
        corners = np.array(found, float)
    except ValueError:
        return None
    if corners.ndim != 2 or corners.shape[1] != 2 or not 3 <= len(corners) <= _CORNERS:
        return None
    return np.clip(corners / _STEPS, 0, 1)


def corners_of(geometry: Mapping[str, object]) -> str:
    """What a figure's box or lasso selection spells; empty without one.

    Args:
        geometry: `box` and `lasso` as Streamlit hands them over: lists of `x` and `y`.
    """
    for shape in geometry.get("lasso") or []:  # type: ignore[attr-defined]
        return spell_region(np.stack([shape["x"], shape["y"]], axis=1))
    for shape in geometry.get("box") or []:  # type: ignore[attr-defined]
        (x0, x1), (y0, y1) = shape["x"], shape["y"]
        return spell_region(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    return ""


def columns(catalog: Catalog, map_: Map, influence: np.ndarray) -> pl.DataFrame:
    """What a region can be special in: source, tokens, norm, topic, influence of every sample."""
    table = catalog.query(
        "SELECT source, n_tokens AS tokens, list_avg(norms) AS norm"
        " FROM samples JOIN health USING (row) ORDER BY row"
    )
    names = pl.Series([*map_.names, "none"])
    return table.with_columns(
        names.gather(pl.Series(map_.topic % len(names))).alias("topic"),
        pl.Series("influence", influence, dtype=pl.Float64, strict=False),
    )


def special(table: pl.DataFrame, rows: np.ndarray, most: int = 5) -> pl.DataFrame:
    """In which columns a region differs from the pool: column, distance, sentence; most first.

    The distance is Bhattacharyya's, from 0 (the same) to 1 (nothing in common), over sources and
    topics as they are and over twenty equally filled bins of numbers.
    """
    found = []
    inside = np.zeros(table.height, bool)
    inside[rows] = True
    for name in table.columns:
        column = table[name]
        codes, sentence = (_words if column.dtype == pl.String else _numbers)(column, inside)
        count = int(codes.max(initial=0)) + 1
        share = [np.bincount(codes[mask], minlength=count) for mask in (inside, codes >= 0)]
        one, other = (np.sqrt(s / max(s.sum(), 1)) for s in share)
        found.append((name, float(np.sqrt(max(1 - one @ other, 0.0))), sentence))
    names = ["column", "distance", "sentence"]
    return pl.DataFrame(found, schema=names, orient="row").sort("distance", descending=True)[:most]


def _words(column: pl.Series, inside: np.ndarray) -> tuple[np.ndarray, str]:
    codes = column.cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
    counts, whole = np.bincount(codes[inside], minlength=codes.max() + 1), np.bincount(codes)
    share, expected = counts / max(inside.sum(), 1), whole / len(codes)
    top = int(np.argmax(share - expected))
    name = column[int(np.flatnonzero(codes == top)[0])]
    return codes, f"{column.name} {name}: {share[top]:.0%} here, {expected[top]:.0%} of the pool"


def _numbers(column: pl.Series, inside: np.ndarray) -> tuple[np.ndarray, str]:
    values = np.nan_to_num(column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    codes = np.searchsorted(edges, values, side="right")
    here = float(np.median(values[inside])) if inside.any() else 0.0
    whole = float(np.median(values))
    return codes, f"{column.name}: middle value {here:.3g} here, {whole:.3g} in the pool"


def region_counts(map_: Map, rows: np.ndarray, supports: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """How much of a region each selection took: selection, here, share (of the region), of_all."""
    n = len(map_.xy)
    inside = np.zeros(n, bool)
    inside[rows] = True
    lines = [("pool", len(rows), 1.0, len(rows) / max(n, 1))]
    for name, support in supports.items():
        here = int(inside[support].sum())
        lines.append((name, here, here / max(len(rows), 1), here / max(len(support), 1)))
    return pl.DataFrame(lines, schema=["selection", "here", "share", "of_all"], orient="row")


def region_texts(
    catalog: Catalog, rows: np.ndarray, weights: np.ndarray, count: int = 10, seed: int = 0
) -> pl.DataFrame:
    """Samples of a region with their texts: those of the most weight, then some drawn by chance.

    Returns:
        why (`weight` or `drawn`), sample_id, source, weight, prompt, completion.
    """
    chosen = rows[weights[rows] > 0]
    first = chosen[np.argsort(-weights[chosen], kind="stable")][:count]
    rest = np.setdiff1d(rows, first)
    drawn = np.random.default_rng(seed).permutation(rest)[:count]
    order = np.concatenate([first, drawn])
    why = ["weight"] * len(first) + ["drawn"] * len(drawn)
    return catalog.texts(order).select(
        pl.Series("why", why, dtype=pl.String),
        "sample_id",
        "source",
        pl.Series("weight", weights[order], dtype=pl.Float64),
        pl.col("prompt").str.slice(0, 300),
        pl.col("completion").str.slice(0, 200),
    )
