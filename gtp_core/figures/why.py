"""Figures of one sample in one selection: what it adds, where, who covers it, who is like it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import SMALL_HEIGHT, Picture, Theme, colour, lay_out, short_labels, word

_HEIGHT = SMALL_HEIGHT + 70
_MAX_CHECKPOINTS = 24  # bars that still have room for a name


def _stroke(theme: Theme) -> dict[str, Any]:
    """A short thick line across a bar: what the chosen samples have together."""
    ink = {"width": 3, "color": colour(theme, "both")}
    return {"color": colour(theme, "both"), "size": 13, "symbol": "line-ew", "line": ink}


def waterfall_figure(steps: pl.DataFrame, theme: Theme) -> Picture:
    """The residual from the whole target to what is left, the sample's own step apart."""
    labels = steps["step"].to_list()
    figure = go.Figure(
        go.Waterfall(
            x=labels,
            y=steps["change"].to_numpy(),
            measure=["absolute", "relative", "relative", "total"],
            text=[f"{value:.4f}" for value in steps["residual"]],
            textposition="outside",
            cliponaxis=False,
            connector={"line": {"color": colour(theme, "grid")}},
            decreasing={"marker": {"color": colour(theme, "gtp")}},
            increasing={"marker": {"color": colour(theme, "top-k")}},
            totals={"marker": {"color": colour(theme, "random")}},
            hovertemplate="%{x}: residual %{text}<extra></extra>",
        )
    )
    own = steps.row(2, named=True)
    way = "lowers" if own["change"] <= 0 else "raises"
    title = f"It {way} the residual by {100 * abs(own['change']):.3g} % of the target"
    if own["step"] != "this sample":
        title = title.replace(f"It {way}", f"It would {way[:-1]}")
    lay_out(figure, theme, title=title, x="", y="best weighted residual", height=_HEIGHT)
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_yaxes(range=[0, 1.12 * max(1.0, float(steps["residual"].to_numpy().max()))])
    last = steps["residual"][-1]
    return Picture(figure, f"Residual from 1 to {last:.4f} in steps. {title}.", steps)


def sample_checkpoints_figure(table: pl.DataFrame, theme: Theme) -> Picture:
    """At each checkpoint, the sample's share of its cosine with the target and with what is left.

    The mean of the chosen samples stands beside it as dots.
    """
    shown = table.head(_MAX_CHECKPOINTS)
    labels = short_labels(shown["checkpoint"])
    figure = go.Figure()
    for name, column, shade, pattern in (
        ("with the target", "target", "gtp", ""),
        ("with what is left of it", "left", "top-k", "/"),
    ):
        figure.add_bar(
            x=labels,
            y=shown[column].to_numpy(),
            name=name,
            marker={"color": colour(theme, shade), "pattern": {"shape": pattern}},
            hovertemplate="%{y:.4f}",
        )
    figure.add_scatter(
        x=labels,
        y=shown["chosen"].to_numpy(),
        name="mean of the chosen, with the target",
        mode="markers",
        marker=_stroke(theme),
        hovertemplate="%{y:.4f}",
    )
    best = table.sort("target", descending=True).row(0, named=True)
    total = float(table["target"].sum())
    title = f"Strongest at {short_labels([best['checkpoint']])[0]} ({best['target']:.3f})"
    lay_out(figure, theme, title=title, x="checkpoint", y="share of the cosine", height=_HEIGHT)
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    return Picture(
        figure, f"The sample's cosine with the target, {total:.3f}, by checkpoint. {title}.", table
    )


def covered_figure(parts: pl.DataFrame, chance: float, theme: Theme) -> Picture:
    """Who covers how much of a sample's gradient, stacked to all of it; chance as a line."""
    shades = ("gtp", "top-k", "both", "gtp", "top-k")
    labels = short_labels(parts["part"])
    figure = go.Figure()
    for place, (label, share) in enumerate(zip(labels, parts["share"], strict=True)):
        rest = place - (parts.height - 2)
        shade = shades[place % 5] if rest < 0 else ("random", "grid")[rest]
        figure.add_bar(
            x=[share],
            y=[""],
            orientation="h",
            name=label,
            marker={
                "color": colour(theme, shade),
                "line": {"color": colour(theme, "paper"), "width": 1},
                "pattern": {"shape": "" if place < 3 or rest >= 0 else "/"},
            },
            hovertemplate="%{fullData.name}: %{x:.1%}<extra></extra>",
        )
    covered = 1 - float(parts["share"][-1]) if parts.height else 0.0
    title = f"{covered:.0%} of its gradient is covered; chance covers {chance:.0%}"
    lay_out(figure, theme, title=title, x="share of its squared length", y="", height=200)
    ink = {"color": colour(theme, "ink"), "width": 2, "dash": "dot"}
    figure.add_vline(x=chance, line=ink)
    figure.update_layout(barmode="stack", hovermode="closest")
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    first = f", {labels[0]} first with {parts['share'][0]:.0%}" if parts.height > 2 else ""
    return Picture(figure, f"{title}{first}.", parts)


def cosines_figure(names: Sequence[str], cosines: np.ndarray, theme: Theme) -> Picture:
    """Cosines of a sample (first) and its nearest chosen samples with each other."""
    labels = short_labels(names)
    table = pl.DataFrame({"sample_id": list(names)}).with_columns(
        pl.Series(f"{place + 1}", column) for place, column in enumerate(cosines.T)
    )
    colours = [colour(theme, "top-k"), colour(theme, "paper"), colour(theme, "gtp")]
    figure = go.Figure(
        go.Heatmap(
            z=cosines.astype(np.float32),
            x=labels,
            y=labels,
            zmin=-1,
            zmax=1,
            colorscale=[[0, colours[0]], [0.5, colours[1]], [1, colours[2]]],
            text=[[f"{value:.2f}" for value in row] for row in cosines],
            texttemplate="%{text}",
            showscale=False,
            hovertemplate="%{x}, %{y}: %{z:.3f}<extra></extra>",
        )
    )
    title = "No chosen sample to compare with"
    if len(names) > 1:
        title = f"Nearest is {labels[1]}, cosine {cosines[0, 1]:.2f}"
    lay_out(figure, theme, title=title, x="", y="", height=420)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="category", tickangle=-40)
    figure.update_yaxes(type="category", autorange="reversed")
    return Picture(
        figure, f"Cosines among the sample and its {len(names) - 1} nearest. {title}.", table
    )


def examples_figure(table: pl.DataFrame, theme: Theme) -> Picture:
    """The validation examples a sample points towards most, and away from most."""
    shown = table.reverse()
    values = shown["cosine"].to_numpy()
    figure = go.Figure(
        go.Bar(
            x=values,
            y=short_labels(shown["example_id"]),
            orientation="h",
            marker={"color": [colour(theme, "gtp" if v >= 0 else "top-k") for v in values]},
            text=[f"{v:+.3f}" for v in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    title = "No validation examples"
    if table.height:
        best = table.row(0, named=True)
        title = f"It pulls {short_labels([best['example_id']])[0]} most ({best['cosine']:+.3f})"
    height = max(SMALL_HEIGHT, 110 + 26 * table.height)
    lay_out(figure, theme, title=title, x="cosine with the example", y="", height=height)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(
        range=[1.35 * min(values.min(initial=0), -0.05), 1.25 * values.max(initial=0.05)]
    )
    figure.update_yaxes(type="category")
    return Picture(figure, f"Cosine of the sample with validation examples. {title}.", table)


def timeline_figure(table: pl.DataFrame, budget: int, theme: Theme) -> Picture:
    """A sample's weight at every budget of the path; the open budget marked."""
    figure = go.Figure()
    figure.add_scatter(
        x=table["budget"].to_numpy(),
        y=table["weight"].to_numpy(),
        mode="lines+markers",
        line={"color": colour(theme, "gtp"), "width": 2, "shape": "hv"},
        marker={
            "size": 9,
            "color": colour(theme, "gtp"),
            "symbol": ["circle" if chosen else "circle-open" for chosen in table["chosen"]],
        },
        hovertemplate="budget %{x:,}: weight %{y:.4f}<extra></extra>",
    )
    inside = table.filter(pl.col("chosen"))
    title = "Not chosen at any budget"
    if inside.height:
        first, last = int(inside["budget"][0]), int(table["budget"][-1])
        title = f"First chosen at {first:,} of {last:,} samples"
    lay_out(figure, theme, title=title, x="budget (samples, log scale)", y="weight", height=_HEIGHT)
    figure.add_vline(x=budget, line={"color": colour(theme, "ink"), "width": 1})
    figure.update_xaxes(type="log")
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(hovermode="closest", showlegend=False)
    text = f"{title}; chosen at {inside.height:,} of {table.height:,} budgets"
    return Picture(figure, f"Weight of the sample along the budgets. {text}.", table)


def subtasks_figure(table: pl.DataFrame, theme: Theme) -> Picture:
    """The sample's cosine with every subtask's target, and the selection's beside it."""
    shown = table.sort("cosine", descending=True).head(_MAX_CHECKPOINTS)
    labels = short_labels(shown["subtask"])
    figure = go.Figure()
    figure.add_bar(
        x=labels,
        y=shown["cosine"].to_numpy(),
        name="this sample",
        marker={"color": colour(theme, "gtp")},
        hovertemplate="%{y:.3f}",
    )
    figure.add_scatter(
        x=labels,
        y=shown["chosen"].to_numpy(),
        name="all chosen together",
        mode="markers",
        marker=_stroke(theme),
        hovertemplate="%{y:.3f}",
    )
    best = shown.row(0, named=True)
    title = f"Nearest to subtask {word(best['subtask'])} ({best['cosine']:.3f})"
    lay_out(figure, theme, title=title, x="subtask", y="cosine with its target", height=_HEIGHT)
    figure.update_xaxes(type="category")
    return Picture(figure, f"Cosine with the target of each subtask. {title}.", table)
