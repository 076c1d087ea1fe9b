"""Figures of two to four selections side by side: overlap, likeness, sources, checkpoints."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import (
    SMALL_HEIGHT,
    Picture,
    Theme,
    colour,
    lay_out,
    short_labels,
    word,
)

_SHADES = ("gtp", "top-k", "random", "both")
_PATTERNS = {"gtp": "", "top-k": "/", "random": "x", "both": "."}
_DASHES = {"gtp": "solid", "top-k": "dash", "random": "dot", "both": "dashdot"}
_MAX_SOURCES = 12
Styles = Mapping[str, str]
"""For every name of a comparison, the class of the theme whose colour and symbol it has."""


def styles(names: Sequence[str], methods: Sequence[str]) -> dict[str, str]:
    """Colours for up to four selections: GTP, top-k and random keep theirs, others take the next.

    Args:
        names: of the selections, all different.
        methods: by which each was made.
    """
    given: dict[str, str] = {}
    for name, method in zip(names, methods, strict=True):
        if method in _SHADES and method not in given.values():
            given[name] = method
    left = [shade for shade in _SHADES if shade not in given.values()]
    return {name: given.get(name) or left.pop(0) for name in names}


def upset_figure(table: pl.DataFrame, styled: Styles, theme: Theme) -> Picture:
    """How many samples are in exactly which selections: bars over a grid of dots."""
    names = [name for name in table.columns if name != "samples"]
    labels = short_labels(names)
    member = table.select(names).to_numpy()
    counts, columns = table["samples"].to_numpy(), np.arange(table.height)
    alone = [names[int(row.argmax())] if row.sum() == 1 else "" for row in member]
    figure = go.Figure()
    figure.add_bar(
        x=columns,
        y=counts,
        text=[f"{n:,}" for n in counts],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [colour(theme, styled[n] if n else "both") for n in alone]},
        hovertemplate="%{y:,} samples<extra></extra>",
    )
    for there, shade, size in ((False, "grid", 9), (True, "ink", 12)):
        up, across = np.nonzero((member == there).T)
        figure.add_scatter(
            x=across,
            y=up,
            yaxis="y2",
            mode="markers",
            marker={"color": colour(theme, shade), "size": size},
            hoverinfo="skip",
        )
    title = _upset_title(table, names)
    height = SMALL_HEIGHT + 60 + 24 * len(names)
    lay_out(figure, theme, title=title, x="", y="samples", height=height)
    bottom = 0.12 + 0.07 * len(names)
    figure.update_layout(showlegend=False, hovermode="closest")
    figure.update_yaxes(domain=[bottom + 0.04, 1], tickformat=",")
    figure.update_layout(
        yaxis2={
            "domain": [0, bottom],
            "tickvals": list(range(len(names))),
            "ticktext": labels,
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        }
    )
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, anchor="y2")
    return Picture(figure, f"Samples by the selections they are in. {title}.", table)


def _upset_title(table: pl.DataFrame, names: Sequence[str]) -> str:
    union = int(table["samples"].sum())
    common = int(table.filter(pl.all_horizontal(names))["samples"].sum())
    who = "both" if len(names) == 2 else f"all {len(names)}"
    return f"{common:,} of {union:,} samples are in {who} ({common / max(union, 1):.0%})"


def likeness_figure(
    table: pl.DataFrame, alike: Mapping[str, tuple[int, int]], styled: Styles, theme: Theme
) -> Picture:
    """How alike the picks of a selection are to the nearest other of it, one outline a selection.

    Args:
        table: as `report.likeness_table` makes it.
        alike: by name, how many picks are at least 95 % alike to another, and of how many.
        styled: the colours.
        theme: light or dark.
    """
    figure = go.Figure()
    filled = "tozeroy" if len(styled) == 2 else "none"  # more would hide each other
    for name, shade in styled.items():
        figure.add_scatter(
            x=[*table["cosine"], 1.0],
            y=[*table[name], *table[name].tail(1)],
            name=word(name),
            mode="lines",
            fill=filled,
            line={"color": colour(theme, shade), "shape": "hv", "width": 2, "dash": _DASHES[shade]},
            hovertemplate="%{y:.1%}",
        )
    ink = colour(theme, "ink")
    figure.add_vline(x=0.95, line={"color": ink, "width": 1, "dash": "dot"})
    form = "{} {:,} of {:,}" if len(alike) == 2 else "{} {:,}/{:,}"
    parts = [form.format(word(name), *counts) for name, counts in alike.items()]
    title = f"At least 95 % alike: {', '.join(parts)}"
    x = "largest cosine to another pick of the same selection"
    lay_out(figure, theme, title=title, x=x, y="share of picks")
    lowest = float(table["cosine"].to_numpy().min(initial=1.0))
    figure.update_xaxes(range=[min(lowest, 0.9), 1.005])
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return Picture(figure, f"How alike each pick is to another. {title}.", table)


def sources_figure(mix: pl.DataFrame, styled: Styles, theme: Theme) -> Picture:
    """How far each selection's share of a source lies from the pool's, in percentage points."""
    shown = mix.head(_MAX_SOURCES).reverse()
    figure = go.Figure()
    for name, shade in reversed(list(styled.items())):
        figure.add_bar(
            x=(shown[name] - shown["pool"]).to_numpy(),
            y=short_labels(shown["source"]),
            orientation="h",
            name=word(name),
            marker=_marker(theme, shade),
            hovertemplate="%{x:+.1%}",
        )
    title = _sources_title(mix, list(styled))
    height = max(SMALL_HEIGHT + 60, 120 + (10 + 12 * len(styled)) * shown.height)
    lay_out(
        figure,
        theme,
        title=title,
        x="share of the selection minus share of the pool",
        y="",
        height=height,
    )
    figure.update_xaxes(tickformat="+.0%", zeroline=True, zerolinecolor=colour(theme, "ink"))
    figure.update_yaxes(type="category")
    figure.update_layout(barmode="group", hovermode="y unified", legend_traceorder="reversed")
    return Picture(figure, f"Sources beside their share of the pool. {title}.", mix)


def _sources_title(mix: pl.DataFrame, names: Sequence[str]) -> str:
    if mix.is_empty():
        return "No sources"
    apart = mix.select("source", *(pl.col(name) - pl.col("pool") for name in names))
    long = apart.unpivot(index="source", variable_name="name", value_name="apart")
    top = long.sort(pl.col("apart").abs(), descending=True).row(0, named=True)
    source = short_labels([top["source"]])[0]
    way = "above" if top["apart"] >= 0 else "below"
    name = word(top["name"])
    return (
        f"{name} is furthest from the pool: {100 * abs(top['apart']):.1f} points {way} for {source}"
    )


CHECKPOINT_COLUMNS = {
    "residual_weighted": "relative residual, with weights",
    "residual_as_trained": "relative residual, as trained",
    "cosine": "cosine with the target",
}


def by_checkpoint_figure(
    table: pl.DataFrame, styled: Styles, theme: Theme, *, column: str = "residual_weighted"
) -> Picture:
    """What each selection leaves of the target, or its cosine with it, checkpoint by checkpoint."""
    figure = go.Figure()
    for name, shade in styled.items():
        rows = table.filter(pl.col("selection") == name)
        figure.add_bar(
            x=short_labels(rows["checkpoint"]),
            y=rows[column].to_numpy(),
            name=word(name),
            marker=_marker(theme, shade),
            hovertemplate="%{y:.3f}",
        )
    quantity = CHECKPOINT_COLUMNS[column]
    first = next(iter(styled))
    mine = table.filter((pl.col("selection") == first) & pl.col(column).is_not_null())
    title = quantity.capitalize()
    if not mine.is_empty():
        worst = mine.sort(column, descending=column != "cosine").row(0, named=True)
        checkpoint = short_labels([worst["checkpoint"]])[0]
        title = f"{word(first)} matches {checkpoint} least ({worst[column]:.2f})"
    lay_out(figure, theme, title=title, x="checkpoint", y=quantity)
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    shown = table.select("selection", "checkpoint", column)
    return Picture(figure, f"{quantity.capitalize()}, by checkpoint. {title}.", shown)


def _marker(theme: Theme, shade: str) -> dict[str, object]:
    pattern = {"shape": _PATTERNS[shade], "fillmode": "overlay", "size": 6, "fgopacity": 0.5}
    pattern["fgcolor"] = colour(theme, "paper")
    return {"color": colour(theme, shade), "pattern": pattern}
