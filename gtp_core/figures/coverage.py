"""Figures of coverage: topics, sources and topics, validation examples, lengths."""

from collections.abc import Mapping, Sequence

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
            # The whole comes last, so that a topic's place is its number. Without it plotly draws
            # one of its own, dark in every theme.
            labels=[*(word(name) for name in shares["topic"]), "all topics"],
            ids=[*map(str, range(shares.height)), "all"],
            parents=["all"] * shares.height + [""],
            values=[*shares["pool"].to_list(), shares["pool"].sum()],
            branchvalues="total",
            customdata=[*rate.tolist(), 1.0],
            texttemplate="%{label}<br>%{customdata:.1f}x",
            hovertemplate="%{label}<br>%{value:,} samples, taken %{customdata:.2f} times its share"
            "<extra></extra>",
            marker={
                "colors": [*shade.tolist(), 0.0],
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
            tiling={"pad": 1},
            pathbar={"visible": False},
        )
    )
    none = int((rate == 0).sum())
    title = f"{selection} takes nothing of {none:,} of {shares.height:,} topics"
    lay_out(figure, theme, title=title, x="", y="", height=420)
    figure.update_layout(hovermode="closest")
    return Picture(figure, f"Topics by share of the pool and selection rate. {title}.", shares)


def source_topic_axes(met: pl.DataFrame) -> tuple[list[str], list[str]]:
    """The sources, at most 20, and topics that the heatmap shows, the largest first."""
    found = []
    for name in ("source", "topic"):
        sizes = met.group_by(name).agg(pl.col("pool").sum())
        found.append(sizes.sort(["pool", name], descending=[True, False])[name].to_list())
    return found[0][:_MOST_SOURCES], found[1]


def source_topics_figure(met: pl.DataFrame, theme: Theme) -> Picture:
    """Heatmap of sources against topics: the share of each cell that is chosen.

    Of more than 20 sources the largest are drawn; the title and the table count all.
    """
    sources, topics = source_topic_axes(met)
    table = met.with_columns((pl.col("chosen") / pl.col("pool")).alias("rate"))
    drawn = table.filter(pl.col("source").is_in(sources))
    place = {name: i for i, name in enumerate(topics)}
    line = {name: i for i, name in enumerate(sources)}
    grid = np.full((len(sources), len(topics)), np.nan, np.float32)
    for source, topic, rate in drawn.select("source", "topic", "rate").rows():
        grid[line[source], place[topic]] = rate
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=short_labels(topics),
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
    total = met["source"].n_unique()
    if total > len(sources):
        title += f" ({len(sources)} of {total:,} sources drawn)"
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
    figure.update_layout(hoverdistance=-1)  # a click asks for what is nearest to it
    return Picture(figure, f"Cosine of each validation example with the choices. {title}.", table)


def values_figure(
    shares: pl.DataFrame, middles: Mapping[str, float], theme: Theme, *, name: str, log: bool
) -> Picture:
    """Shares of samples by a measure, in the pool and in the selections.

    Args:
        shares: of `value_shares`.
        middles: the median in the pool and in every selection.
        theme: light or dark.
        name: of the measure.
        log: whether its scale is.
    """
    figure = go.Figure()
    (shown,) = short_labels([name])
    for column in shares.columns[3:]:
        key = {"GTP": "gtp", "pool": "random"}.get(column, column)
        figure.add_scatter(
            x=shares["middle"].to_numpy(),
            y=shares[column].to_numpy(),
            name=column,
            mode="lines",
            line={
                "color": colour(theme, key),
                "width": 2,
                "dash": DASHES.get(key, "solid"),
                "shape": "hvh",
            },
            hovertemplate="%{y:.1%}",
        )
    told = ", ".join(f"{one} {value:,.3g}" for one, value in middles.items())
    title = f"Median {shown}: {told}"
    scale = " (log scale)" if log else ""
    lay_out(figure, theme, title=title, x=f"{shown}{scale}", y="share of samples")
    figure.update_xaxes(type="log" if log else "linear", hoverformat=".3g")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_layout(hoverdistance=-1)
    return Picture(figure, f"Samples by {shown}. {title}.", shares)
