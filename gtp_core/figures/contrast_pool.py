"""Figures of the whole pool as two selections see it; the first shows where their picks lie."""

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import SYMBOLS, Picture, Theme, colour, lay_out, short_labels, word
from gtp_core.report import Gains, Ranks

_FEW_POINTS = 1000  # drawn as SVG; more take a WebGL context
_CLEAR, _FAINT, _GREY = (f"rgba(138,146,155,{share})" for share in (0, 0.15, 0.8))


def hero_figure(gains: Gains, names: tuple[str, str], theme: Theme) -> Picture:
    """Influence against conditional gain of what only A has, only B has, both and neither have."""
    figure = go.Figure(_background(gains))
    draw = go.Scatter if gains.points.height < _FEW_POINTS else go.Scattergl
    classes = {"a": "gtp", "b": "top-k", "both": "both"}
    for name, shade in classes.items():
        rows = gains.points.filter(pl.col("class") == name)
        figure.add_trace(
            draw(
                x=rows["influence"].cast(pl.Float32).to_numpy(),
                y=rows["gain"].cast(pl.Float32).to_numpy(),
                customdata=short_labels(rows["sample_id"]),
                name=f"{_whose(name, names)} ({gains.counts[name]:,})",
                mode="markers",
                marker={
                    "color": colour(theme, shade),
                    "symbol": SYMBOLS[shade],
                    "size": 8,
                    "line": {"width": 0.5, "color": colour(theme, "paper")},
                },
                hovertemplate="%{customdata}<br>influence %{x:.3f}, %{y:.3%}<extra></extra>",
            )
        )
    title = _hero_title(gains, names)
    given = word(gains.given)
    up = f"conditional gain given {given}" if gains.measure == "gain" else f"proxy given {given}"
    lay_out(figure, theme, title=title, x="influence (what top-k ranks by)", y=up, height=440)
    figure.update_yaxes(tickformat=".2~%" if gains.measure == "gain" else ".3~f")
    figure.update_layout(hovermode="closest")
    drawn, total = gains.points.height, sum(gains.counts.values())
    some = f" {drawn:,} of {total:,} picks are drawn." if drawn < total else ""
    alt = f"Influence of every sample against its {up}. {title}.{some}"
    words = {name: _whose(name, names) for name in classes}
    return Picture(figure, alt, gains.points.with_columns(pl.col("class").replace(words)))


def _background(gains: Gains) -> go.Heatmap:
    """Where the samples lie that neither has: at most 13 kB, and no hover of its own."""
    across, up = gains.cells
    grid = np.zeros((len(up), len(across)))
    x, y = (np.searchsorted(c, gains.density[n]) for c, n in ((across, "influence"), (up, "gain")))
    grid[y, x] = gains.density["samples"]
    tall = np.log1p(grid)
    scale = 255 / max(float(tall.max(initial=0.0)), 1e-9)
    return go.Heatmap(
        z=np.ceil(tall * scale).astype(np.uint8),
        x=across.astype(np.float32),
        y=up.astype(np.float32),
        colorscale=[[0, _CLEAR], [0.01, _FAINT], [1, _GREY]],
        showscale=False,
        hoverinfo="skip",
    )


def _whose(name: str, names: tuple[str, str]) -> str:
    return {"a": f"only {word(names[0])}", "b": f"only {word(names[1])}", "both": "both"}[name]


def _hero_title(gains: Gains, names: tuple[str, str]) -> str:
    """What a pick of the one is worth beside a pick of the other."""
    known = [name for name in ("a", "b") if name in gains.medians]
    if not known:
        return f"{word(names[0])} and {word(names[1])} chose the same samples"
    form = "{:.3%}" if gains.measure == "gain" else "{:.4f}"
    parts = [f"{_whose(n, names)}: {form.format(gains.medians[n])}" for n in known]
    what = "gain" if gains.measure == "gain" else "proxy"
    return f"Median {what} of a pick, given {word(gains.given)}'s samples: {', '.join(parts)}"


def ranks_figure(ranks: Ranks, names: tuple[str, str], theme: Theme) -> Picture:
    """Every sample's place in two orders of the pool, counted in cells on logarithmic axes."""
    edges = ranks.edges
    grid = np.zeros((len(edges) - 1, len(edges) - 1))
    across, up = (np.searchsorted(edges, ranks.cells[n]) for n in ("rank_a", "rank_b"))
    grid[up, across] = ranks.cells["samples"]
    tall = np.log1p(grid)
    scale = 255 / max(float(tall.max(initial=0.0)), 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=np.ceil(tall * scale).astype(np.uint8),
            x=edges.astype(np.float32),
            y=edges.astype(np.float32),
            colorscale=[[0, _CLEAR], [1, colour(theme, "gtp")]],
            showscale=False,
            hoverinfo="skip",
        )
    )
    title = _ranks_title(ranks, names)
    a, b = (f"rank by {word(name)} (log scale)" for name in names)
    lay_out(figure, theme, title=title, x=a, y=b)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="log", tickformat=",")
    figure.update_yaxes(type="log", tickformat=",")
    return Picture(
        figure,
        f"Every sample's rank by {word(names[0])} and by {word(names[1])}. {title}.",
        ranks.cells,
    )


def _ranks_title(ranks: Ranks, names: tuple[str, str]) -> str:
    known = ranks.correlation
    words = ("in opposite orders", "in unrelated orders", "somewhat alike", "much alike")
    how = words[sum(known > level for level in (-0.3, 0.3, 0.7))]
    a, b = (word(name) for name in names)
    return f"{a} and {b} rank the pool {how} (rank correlation {known:+.2f})"
