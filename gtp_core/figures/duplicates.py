"""Figures of duplicates: what a threshold means, how large groups are, what selections took."""

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
    word,
)


def threshold_figure(
    curve: pl.DataFrame, histogram: pl.DataFrame, theme: Theme, *, threshold: float, measure: str
) -> Picture:
    """Rows beyond one of each group against the threshold, over the histogram of pairs.

    Args:
        curve: as `neighbors.threshold_curve` makes it.
        histogram: as `neighbors.score_histogram` makes it.
        theme: light or dark.
        threshold: the current one, marked.
        measure: what the similarity is, for the axis.
    """
    figure = go.Figure()
    figure.add_bar(
        x=histogram["similarity"].to_numpy(),
        y=histogram["pairs"].to_numpy(),
        name="pairs (right axis)",
        yaxis="y2",
        marker={"color": colour(theme, "band")},
        hovertemplate="%{y:,} pairs",
    )
    for column, method in (("rows", "gtp"), ("groups", "top-k")):
        figure.add_scatter(
            x=curve["threshold"].to_numpy(),
            y=curve[column].to_numpy(),
            name={"rows": "rows beyond one a group", "groups": "groups"}[column],
            mode="lines",
            line={"color": colour(theme, method), "width": 2, "dash": DASHES[method]},
            hovertemplate="%{y:,}",
        )
    figure.add_vline(x=threshold, line={"color": colour(theme, "ink"), "width": 1, "dash": "dot"})
    at = curve.sort((pl.col("threshold") - threshold).abs()).row(0, named=True)
    title = f"At {threshold:g}: {at['groups']:,} groups, {at['rows']:,} rows beyond one of each"
    lay_out(figure, theme, title=title, x=measure, y="rows, groups")
    figure.update_layout(
        bargap=0,
        yaxis={"rangemode": "tozero", "tickformat": ","},
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "type": "log",
            "showgrid": False,
            "title": {"text": "pairs (log scale)"},
            "automargin": True,
            "dtick": 1,
        },
    )
    alt = f"Groups and rows beyond one of each group against the threshold of {measure}. {title}."
    return Picture(figure, alt, curve)


def sizes_figure(sizes: pl.DataFrame, theme: Theme) -> Picture:
    """How many groups there are of every size, both on log scales."""
    figure = go.Figure(
        go.Scatter(
            x=sizes["size"].to_numpy(),
            y=sizes["groups"].to_numpy(),
            mode="markers",
            marker={"color": colour(theme, "both"), "size": 8, "symbol": "square"},
            customdata=sizes["size"].to_numpy(),
            hovertemplate="%{y:,} groups; click to see only these",
        )
    )
    title = "No groups at this threshold"
    if sizes.height:
        largest = int(sizes["size"].max())  # type: ignore[arg-type]
        title = f"{int(sizes['groups'].sum()):,} groups; the largest has {largest:,} members"
    lay_out(figure, theme, title=title, x="members (log scale)", y="groups (log scale)")
    figure.update_xaxes(type="log", tickformat=",", dtick="D2")
    figure.update_yaxes(type="log", tickformat=",", dtick=1)
    return Picture(figure, f"Groups of duplicates by their size. {title}.", sizes)


def use_figure(along: pl.DataFrame, theme: Theme, *, budget: int) -> Picture:
    """Samples that selections took beyond one of each group, along the budgets."""
    figure = go.Figure()
    ends = {}
    for method in ("top-k", "gtp"):
        rows = along.filter(method=method).sort("budget")
        share = rows["surplus"] / rows["chosen"].clip(1)
        ends[method] = float(share[-1]) if len(share) else 0.0
        figure.add_scatter(
            x=rows["budget"].to_numpy(),
            y=share.to_numpy(),
            name=word(method),
            mode="lines+markers",
            line={"color": colour(theme, method), "width": 2, "dash": DASHES[method]},
            marker={"symbol": SYMBOLS[method], "size": 7},
            hovertemplate="%{y:.1%}",
        )
    figure.add_vline(x=budget, line={"color": colour(theme, "ink"), "width": 1, "dash": "dot"})
    title = (
        f"At the largest budget {ends['gtp']:.1%} of GTP's samples repeat one it has, "
        f"{ends['top-k']:.1%} of top-k's"
    )
    height = SMALL_HEIGHT + 90
    lay_out(figure, theme, title=title, x="budget (log scale)", y="repeats", height=height)
    figure.update_xaxes(type="log", tickformat=",")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    alt = f"Share of chosen samples beyond one of each group, against budget. {title}."
    return Picture(figure, alt, along)


def taken_figure(along: pl.DataFrame, theme: Theme, *, budget: int, size: int) -> Picture:
    """How many members of one group selections took, along the budgets.

    Args:
        along: as `neighbors.taken_along` makes it.
        theme: light or dark.
        budget: the current one, marked.
        size: how many members the group has.
    """
    figure = go.Figure()
    most = {}
    for method in ("top-k", "gtp"):
        rows = along.filter(method=method).sort("budget")
        most[method] = int(rows["taken"].max() or 0)  # type: ignore[arg-type]
        figure.add_scatter(
            x=rows["budget"].to_numpy(),
            y=rows["taken"].to_numpy(),
            name=word(method),
            mode="lines+markers",
            line={"color": colour(theme, method), "width": 2, "dash": DASHES[method]},
            marker={"symbol": SYMBOLS[method], "size": 7},
            hovertemplate="%{y:,}",
        )
    figure.add_vline(x=budget, line={"color": colour(theme, "ink"), "width": 1, "dash": "dot"})
    title = (
        f"Of these {size:,} members GTP never took more than {most['gtp']:,}, "
        f"top-k {most['top-k']:,}"
    )
    lay_out(figure, theme, title=title, x="budget (log scale)", y="taken", height=SMALL_HEIGHT + 40)
    figure.update_xaxes(type="log", tickformat=",")
    figure.update_yaxes(tickformat=",", rangemode="tozero")
    return Picture(figure, f"Members of one group taken, against budget. {title}.", along)
