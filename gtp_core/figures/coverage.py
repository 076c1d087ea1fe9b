"""Figures of coverage: topics, sources and topics, validation examples, lengths."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import (
    DASHES,
    SMALL_HEIGHT,
    SYMBOLS,
    Picture,
    Theme,
    colour,
    lay_out,
    short_labels,
    word,
)

_TIMES = (0.25, 0.5, 1, 2, 4)  # marks of the colour scale
_MOST_SOURCES = 20


def topics_figure(shares: pl.DataFrame, theme: Theme, *, selection: str) -> Picture:
    """Treemap of the topics: area is the share of the pool, colour how often it is taken."""
    rate = shares[selection].to_numpy()
    shade = np.clip(np.log2(np.maximum(rate, 2.0**-3)), -2, 2)
    figure = go.Figure(
        go.Treemap(
            labels=[word(name) for name in shares["topic"]],
            parents=[""] * shares.height,
            values=shares["pool"].to_numpy(),
            customdata=rate,
            texttemplate="%{label}<br>%{customdata:.1f}x",
            hovertemplate="%{label}<br>%{value:,} samples, taken %{customdata:.2f} times its share"
            "<extra></extra>",
            marker={
                "colors": shade,
                "colorscale": [
                    [0, colour(theme, "top-k")],
                    [0.5, colour(theme, "grid")],
                    [1, colour(theme, "gtp")],
                ],
                "cmin": -2,
                "cmax": 2,
                "showscale": True,
                "colorbar": {
                    "tickvals": [float(np.log2(t)) for t in _TIMES],
                    "ticktext": [f"{t:g}x" for t in _TIMES],
                    "thickness": 12,
                    "title": {"text": "taken"},
                },
            },
            tiling={"pad": 2},
            root={"color": "rgba(0,0,0,0)"},
        )
    )
    none = int((rate == 0).sum())
    title = f"{selection} takes nothing of {none:,} of {shares.height:,} topics"
    lay_out(figure, theme, title=title, x="", y="", height=420)
    figure.update_layout(hovermode="closest")
    return Picture(figure, f"Topics by share of the pool and selection rate. {title}.", shares)


def source_topics_figure(met: pl.DataFrame, theme: Theme) -> Picture:
    """Heatmap of sources against topics: the share of each cell that is chosen."""
    sizes = met.group_by("source").agg(pl.col("pool").sum()).sort("pool", descending=True)
    sources = sizes["source"].head(_MOST_SOURCES).to_list()
    table = met.filter(pl.col("source").is_in(sources)).with_columns(
        (pl.col("chosen") / pl.col("pool")).alias("rate")
    )
    topics = met.group_by("topic").agg(pl.col("pool").sum()).sort("pool", descending=True)["topic"]
    place = {name: i for i, name in enumerate(topics)}
    line = {name: i for i, name in enumerate(sources)}
    grid = np.full((len(sources), len(topics)), np.nan, np.float32)
    for source, topic, rate in table.select("source", "topic", "rate").rows():
        grid[line[source], place[topic]] = rate
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=short_labels(topics.to_list()),
            y=short_labels(sources),
            colorscale=[[0, colour(theme, "grid")], [1, colour(theme, "gtp")]],
            colorbar={"tickformat": ".0%", "thickness": 12, "title": {"text": "chosen"}},
            hovertemplate="%{y}, %{x}: %{z:.1%} chosen<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    empty = table.filter(pl.col("chosen") == 0).height
    title = f"Nothing is chosen where {empty:,} of {table.height:,} sources and topics meet"
    height = max(SMALL_HEIGHT + 150, 200 + 22 * len(sources))
    lay_out(figure, theme, title=title, x="topic", y="source", height=height)
    figure.update_xaxes(type="category", tickangle=-40)
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_layout(hovermode="closest")
    return Picture(figure, f"Share chosen by source and topic. {title}.", table)


def served_figure(table: pl.DataFrame, theme: Theme, *, names: Sequence[str]) -> Picture:
    """Every validation example's cosine with the selections, worst served by the first first."""
    figure = go.Figure()
    places = np.arange(1, table.height + 1)
    for name in names:
        key = {"GTP": "gtp"}.get(name, name)
        figure.add_scatter(
            x=places,
            y=table[name].to_numpy(),
            name=name,
            mode="markers",
            marker={"color": colour(theme, key), "symbol": SYMBOLS[key], "size": 7},
            hovertemplate="%{y:.3f}",
        )
    figure.add_scatter(
        x=places,
        y=table["best"].to_numpy(),
        name="best single sample of the pool",
        mode="lines",
        line={"color": colour(theme, "random"), "width": 1.5, "dash": DASHES["random"]},
        hovertemplate="%{y:.3f}",
    )
    figure.add_hline(y=0, line={"color": colour(theme, "ink"), "width": 1})
    first = names[0]
    away = table.filter(pl.col(first) <= 0).height
    title = f"{first} points away from {away:,} of {table.height:,} validation examples"
    lay_out(
        figure,
        theme,
        title=title,
        x=f"validation examples, worst served by {first} first",
        y="cosine",
    )
    return Picture(figure, f"Cosine of each validation example with the choices. {title}.", table)


def lengths_figure(shares: pl.DataFrame, theme: Theme) -> Picture:
    """Shares of samples by length, in the pool and in the selections."""
    figure = go.Figure()
    middle = {}
    for name in shares.columns[1:]:
        key = {"GTP": "gtp", "pool": "random"}.get(name, name)
        figure.add_scatter(
            x=shares["tokens"].to_numpy(),
            y=shares[name].to_numpy(),
            name=name,
            mode="lines",
            line={
                "color": colour(theme, key),
                "width": 2,
                "dash": DASHES.get(key, "solid"),
                "shape": "hvh",
            },
            hovertemplate="%{y:.1%}",
        )
        reached = np.cumsum(shares[name].to_numpy())
        middle[name] = float(shares["tokens"][int((reached >= 0.5 * reached[-1]).argmax())])
    told = ", ".join(f"{name} {value:,.0f}" for name, value in middle.items())
    title = f"Middle length in tokens: {told}"
    lay_out(figure, theme, title=title, x="tokens (log scale)", y="share")
    figure.update_xaxes(type="log")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return Picture(figure, f"Samples by length. {title}.", shares)
