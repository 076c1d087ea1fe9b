"""A region of the map: what is in it, and in what it differs from the pool."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.neighbors.layout import Map

_CORNERS = 32  # of a region that are kept: what a link can carry
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STEPS = 64**2 - 1  # places a corner can have along a side: two letters
_FLAT = 1e-6  # of the map's area: what a corner adds that nobody sees
_BINS = 20


def spell_region(corners: np.ndarray) -> str:
    """A polygon (n, 2) in the unit square as short text: at most 32 corners of four letters.

    Corners are left out one after another, always the one that changes the area least (Visvalingam,
    Whyatt 1993). The browser does the same before it sends a lasso.
    """
    kept = np.asarray(corners, np.float64)
    while len(kept) > 3:
        one, other = kept - np.roll(kept, 1, axis=0), np.roll(kept, -1, axis=0) - kept
        lost = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2
        if len(kept) <= _CORNERS and lost.min() > _FLAT:
            break
        kept = np.delete(kept, lost.argmin(), axis=0)
    steps = np.clip(np.round(kept * _STEPS), 0, _STEPS).astype(int)
    return "".join(_LETTERS[step >> 6] + _LETTERS[step & 63] for step in steps.ravel().tolist())


def read_region(text: str) -> np.ndarray | None:
    """The polygon of `spell_region`; None if it is none.

    Example:
        >>> read_region("AAAA__AA____").tolist()
        [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    """
    places = [_LETTERS.find(letter) for letter in text[: 4 * _CORNERS + 1]]
    if len(places) % 4 or not 3 <= len(places) // 4 <= _CORNERS or min(places) < 0:
        return None
    pairs = np.array(places).reshape(-1, 2, 2)
    return np.asarray((64 * pairs[:, :, 0] + pairs[:, :, 1]) / _STEPS)


def region_of(value: str) -> tuple[np.ndarray | None, str]:
    """The polygon and the map's source of what an address or a filter says: `CORNERS:SOURCE`."""
    corners, _, source = value.partition(":")
    return read_region(corners), source


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
