"""Figures of what is inside a store or a selection."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import (
    SMALL_HEIGHT,
    SYMBOLS,
    Picture,
    Theme,
    colour,
    lay_out,
    short_labels,
    word,
)

_MAX_SOURCES = 12
_WEAK_BIAS = 0.3


def overlap_figure(overlap: Mapping[str, Any], theme: Theme) -> Picture:
    """GTP only, both, top-k only: one stacked bar."""
    parts = (
        ("GTP only", overlap["only_a"], "gtp", "#FFFFFF" if theme == "light" else "#111111"),
        ("both", overlap["both"], "both", "#FFFFFF" if theme == "light" else "#111111"),
        ("top-k only", overlap["only_b"], "top-k", "#FFFFFF" if theme == "light" else "#111111"),
    )
    figure = go.Figure()
    for name, count, shade, ink in parts:
        figure.add_bar(
            x=[count],
            y=[""],
            orientation="h",
            name=name,
            text=[f"{count:,}" if count else ""],
            textposition="inside",
            insidetextanchor="middle",
            textfont={"color": ink},
            marker={"color": colour(theme, shade)},
            hovertemplate=f"{name}: %{{x:,}}<extra></extra>",
        )
    total = sum(count for _, count, _, _ in parts)
    shared = overlap["both"] / total if total else 0
    title = f"{overlap['both']:,} of {total:,} samples are chosen by both ({shared:.0%})"
    lay_out(figure, theme, title=title, x="samples", y="", height=170)
    figure.update_layout(barmode="stack", hovermode="closest")
    table = pl.DataFrame(
        [(name, count) for name, count, _, _ in parts], schema=["class", "samples"], orient="row"
    )
    return Picture(
        figure, f"{title}; {parts[0][1]:,} only by GTP, {parts[2][1]:,} only by top-k.", table
    )


def checkpoint_figure(matches: pl.DataFrame, theme: Theme) -> Picture:
    """Cosine of the sum of the chosen atoms with the target at each checkpoint, per method."""
    figure = go.Figure()
    for method in matches["method"].unique(maintain_order=True):
        rows = matches.filter(pl.col("method") == method)
        figure.add_bar(
            x=short_labels(rows["checkpoint"]),
            y=rows["cosine"].to_numpy(),
            name=word(method),
            marker={"color": colour(theme, method)},
            hovertemplate="%{y:.3f}",
        )
    gtp = matches.filter(pl.col("method") == "gtp")
    title = "Match by checkpoint"
    if not gtp.is_empty():
        worst = gtp.sort("cosine").row(0, named=True)
        title = f"GTP matches {word(worst['checkpoint'])} least ({worst['cosine']:.2f})"
    lay_out(
        figure,
        theme,
        title=title,
        x="checkpoint",
        y="cosine with the target",
        height=SMALL_HEIGHT + 60,
    )
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    return Picture(
        figure, f"Cosine of each selection with the target at each checkpoint. {title}.", matches
    )


def source_figure(mix: pl.DataFrame, theme: Theme) -> Picture:
    """Share of each source in the pool and in each selection."""
    shown = mix.head(_MAX_SOURCES).reverse()
    labels = short_labels(shown["source"])
    figure = go.Figure()
    for name in [c for c in mix.columns if c not in ("source", "pool")]:
        figure.add_scatter(
            x=shown[name].to_numpy(),
            y=labels,
            name=word(name),
            mode="markers",
            marker={
                "color": colour(theme, name),
                "size": 11,
                "symbol": SYMBOLS.get(name, "circle"),
            },
            hovertemplate="%{x:.1%}",
        )
    figure.add_scatter(
        x=shown["pool"].to_numpy(),
        y=labels,
        name="pool",
        mode="markers",
        marker={"color": colour(theme, "ink"), "size": 14, "symbol": "line-ns-open"},
        hovertemplate="%{x:.1%}",
    )
    title = _source_title(mix)
    height = max(SMALL_HEIGHT + 60, 120 + 26 * shown.height)
    lay_out(figure, theme, title=title, x="share", y="", height=height)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(type="category")  # else sources named 2023 and 2024 make a number line
    figure.update_layout(hovermode="y unified")
    return Picture(figure, f"Share of each source in pool and selections. {title}.", mix)


def _source_title(mix: pl.DataFrame) -> str:
    if "gtp" not in mix.columns or mix.is_empty():
        return "Share of each source"
    table = mix.with_columns(
        (pl.col("gtp") / pl.max_horizontal("pool", pl.lit(1e-9))).alias("times")
    )
    top = table.sort("times", descending=True).row(0, named=True)
    source = short_labels([top["source"]])[0]
    return f"GTP takes {source} {top['times']:.1f} times its share of the pool"


def norm_figure(norms: pl.DataFrame, theme: Theme) -> Picture:
    """Histogram of gradient norms per checkpoint, log scale."""
    figure = go.Figure()
    shades = ("gtp", "top-k", "both", "random")
    for position, checkpoint in enumerate(norms["checkpoint"].unique(maintain_order=True)):
        rows = norms.filter(pl.col("checkpoint") == checkpoint)
        figure.add_scatter(
            x=rows["norm"].to_numpy(),
            y=rows["n"].to_numpy(),
            name=word(checkpoint),
            mode="lines",
            line={
                "color": colour(theme, shades[position % 4]),
                "shape": "hvh",
                "width": 2,
                "dash": ("solid", "dash", "dot", "dashdot")[position % 4],
            },
            hovertemplate="%{y:,}",
        )
    title = "Gradient norms"
    if not norms.is_empty():
        found = norms.filter(pl.col("n") > 0)["norm"].to_list()
        ratio = max(found) / max(min(found), 1e-30)
        title = f"The longest gradient is about {ratio:,.0f} times the shortest"
    lay_out(
        figure,
        theme,
        title=title,
        x="gradient norm (log scale)",
        y="samples",
        height=SMALL_HEIGHT + 60,
    )
    figure.update_xaxes(type="log")
    return Picture(figure, f"Histogram of gradient norms per checkpoint. {title}.", norms)


def length_figure(lengths: pl.DataFrame, bias: float, theme: Theme) -> Picture:
    """Where the samples lie between length and gradient norm: the length bias at a glance."""
    table = lengths.pivot("tokens", index="norm", values="n").sort("norm")
    grid = table.drop("norm").to_numpy() if lengths.height else np.zeros((0, 0))
    low = "rgba(138,146,155,0)"
    figure = go.Figure(
        go.Heatmap(
            z=np.log1p(grid.astype(np.float32)),
            x=lengths["tokens"].unique().sort().to_numpy(),
            y=lengths["norm"].unique().sort().to_numpy(),
            colorscale=[[0, low], [1, colour(theme, "gtp")]],
            showscale=False,
            hovertemplate="%{x:.0f} tokens, norm %{y:.3g}<extra></extra>",
        )
    )
    strength = "weak" if abs(bias) < _WEAK_BIAS else "clear"
    title = f"Length bias is {strength}: rank correlation of length and norm {bias:+.2f}"
    lay_out(
        figure,
        theme,
        title=title,
        x="tokens (log scale)",
        y="mean gradient norm (log scale)",
        height=SMALL_HEIGHT + 60,
    )
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    figure.update_layout(hovermode="closest")
    return Picture(figure, f"Samples by number of tokens and gradient norm. {title}.", lengths)
