"""Figures along the budget and along the rounds."""

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

_NEARLY_ALL = 0.99  # of the samples: beyond, a percentage would be rounded to all
_MANY_DECADES = 1000  # from the first budget to the last
_RESIDUALS = {
    "residual_weighted": "with GTP's weights",
    "residual_as_trained": "as trained, every sample counting the same",
}


def residual_figure(
    path: pl.DataFrame,
    theme: Theme,
    *,
    budget: int,
    column: str = "residual_weighted",
    noise_floor: float | None = None,
) -> Picture:
    """Relative residual against budget: GTP, top-k, the random band, the noise floor.

    Args:
        path: as `report.budget_path` makes it.
        theme: light or dark.
        budget: the current budget, marked with a line.
        column: residual_weighted or residual_as_trained.
        noise_floor: residual below which only the noise of the target is fitted.
    """
    figure = go.Figure()
    _random_band(figure, path, theme, column)
    for method in ("top-k", "gtp"):
        _line(figure, _method_rows(path, method), method, column, theme)
    if noise_floor is not None:
        _level(figure, path, theme, noise_floor, "noise floor")
    _mark(figure, theme, budget)
    title = _residual_title(path, column)
    lay_out(figure, theme, title=title, x="budget (samples, log scale)", y="relative residual")
    _budget_axis(figure, path)
    figure.update_yaxes(rangemode="tozero", tickformat=".2f")
    table = _wide(path, column)
    alt = f"Relative residual, {_RESIDUALS[column]}, against budget. {title}{_at(table, budget)}."
    return Picture(figure, alt, table)


def held_out_figure(path: pl.DataFrame, theme: Theme, *, budget: int, stop: int | None) -> Picture:
    """Held-out match against budget with its ceiling; `stop` is where more samples stop helping."""
    figure = go.Figure()
    _random_band(figure, path, theme, "match")
    for method in ("top-k", "gtp"):
        _line(figure, _method_rows(path, method), method, "match", theme)
    ceilings = path["ceiling"].drop_nulls()
    ceiling = float(ceilings[0]) if len(ceilings) else None
    if ceiling is not None:
        _level(figure, path, theme, ceiling, "ceiling")
    _mark(figure, theme, budget)
    title = _held_out_title(path, stop)
    lay_out(
        figure, theme, title=title, x="budget (samples, log scale)", y="held-out match (cosine)"
    )
    _budget_axis(figure, path)
    figure.update_yaxes(tickformat=".2f")
    table = _wide(path, "match")
    level = f"; ceiling {ceiling:.3f}" if ceiling is not None else ""
    alt = f"Held-out match against budget. {title}{_at(table, budget)}{level}."
    return Picture(figure, alt, table)


def rounds_figure(rounds: pl.DataFrame, theme: Theme) -> Picture:
    """What every round of a pursuit did: samples kept, entered and left, and the residual."""
    figure = go.Figure()
    bars = (("kept", "both", ""), ("entered", "gtp", "/"), ("left", "random", "x"))
    for column, shade, pattern in bars:
        figure.add_bar(
            x=rounds["round"].to_numpy(),
            y=rounds[column].to_numpy() * (-1 if column == "left" else 1),
            name=column,
            marker={"color": colour(theme, shade), "pattern": {"shape": pattern}},
            hovertemplate="%{y:,}",
        )
    figure.add_scatter(
        x=rounds["round"].to_numpy(),
        y=rounds["residual"].to_numpy(),
        name="residual (right axis)",
        yaxis="y2",
        mode="lines+markers",
        line={"color": colour(theme, "top-k"), "width": 2},
        marker={"symbol": "diamond", "size": 8},
        hovertemplate="%{y:.4f}",
    )
    last = rounds.row(-1, named=True)
    n_rounds = rounds.height
    title = (
        f"{n_rounds} round{'s' if n_rounds > 1 else ''}, residual {last['residual']:.3f} at the end"
    )
    lay_out(figure, theme, title=title, x="round", y="samples", height=SMALL_HEIGHT + 40)
    figure.update_layout(
        barmode="relative",
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "title": {"text": "residual"},
            "tickformat": ".2f",
            "nticks": 4,
            "automargin": True,
        },
    )
    figure.update_xaxes(dtick=1 if n_rounds <= 15 else 5)
    return Picture(figure, f"Samples kept, entered and left in each round. {title}.", rounds)


def _method_rows(path: pl.DataFrame, method: str) -> pl.DataFrame:
    return path.filter((pl.col("method") == method) & (pl.col("seed") == 0)).sort("budget")


def _line(figure: go.Figure, rows: pl.DataFrame, method: str, column: str, theme: Theme) -> None:
    figure.add_scatter(
        x=rows["budget"].to_numpy(),
        y=rows[column].to_numpy(),
        name=word(method),
        mode="lines+markers",
        line={"color": colour(theme, method), "width": 2, "dash": DASHES[method]},
        marker={"symbol": SYMBOLS[method], "size": 7},
        hovertemplate="%{y:.3f}",
    )


def _random_band(figure: go.Figure, path: pl.DataFrame, theme: Theme, column: str) -> None:
    """The middle nine tenths of the random draws, and their median."""
    rows = _random_spread(path, column)
    if rows.is_empty():
        return
    x = rows["budget"].to_numpy()
    edge = {"width": 0}
    figure.add_scatter(
        x=x,
        y=rows["random, 95 %"].to_numpy(),
        line=edge,
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=rows["random, 5 %"].to_numpy(),
        name="random (5 to 95 %)",
        line=edge,
        mode="lines",
        fill="tonexty",
        fillcolor=colour(theme, "band"),
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=x,
        y=rows["random, median"].to_numpy(),
        name="random, median",
        mode="lines",
        line={"color": colour(theme, "random"), "width": 1.5, "dash": DASHES["random"]},
        hovertemplate="%{y:.3f}",
        showlegend=False,
    )


def _level(figure: go.Figure, path: pl.DataFrame, theme: Theme, value: float, name: str) -> None:
    """A horizontal line over all budgets, named in the legend so that it hides nothing."""
    budgets = path["budget"].unique().sort()
    figure.add_scatter(
        x=budgets.to_numpy(),
        y=[value] * len(budgets),
        name=name,
        mode="lines",
        line={"color": colour(theme, "ink"), "width": 1, "dash": "dot"},
        hovertemplate="%{y:.3f}",
    )


def _mark(figure: go.Figure, theme: Theme, budget: int) -> None:
    ink = colour(theme, "ink")
    figure.add_vline(x=budget, line={"color": ink, "width": 1})


def _at(table: pl.DataFrame, budget: int) -> str:
    """The numbers at the budget of the path that is nearest, in words."""
    if table.is_empty():
        return ""
    here = table.row(int((table["budget"] - budget).abs().arg_min() or 0), named=True)
    known = [m for m in ("gtp", "top-k", "random, median") if here.get(m) is not None]
    numbers = ", ".join(f"{word(m)} {here[m]:.3f}" for m in known)
    return f". At budget {here['budget']:,}: {numbers}" if numbers else ""


def _wide(path: pl.DataFrame, column: str) -> pl.DataFrame:
    """One row per budget, one column per line: what the figure draws."""
    single = path.filter((pl.col("seed") == 0) & (pl.col("method") != "random"))
    wide = single.pivot("method", index="budget", values=column)
    return wide.join(_random_spread(path, column), on="budget", how="left").sort("budget")


def _random_spread(path: pl.DataFrame, column: str) -> pl.DataFrame:
    """Per budget, the median of the random draws and the middle nine tenths of them."""
    drawn = path.filter(pl.col("method") == "random").group_by("budget")
    value = pl.col(column)
    return drawn.agg(
        value.median().alias("random, median"),
        value.quantile(0.05).alias("random, 5 %"),
        value.quantile(0.95).alias("random, 95 %"),
    ).sort("budget")


def _residual_title(path: pl.DataFrame, column: str) -> str:
    """The finding: how many fewer samples GTP needs to reach top-k's best residual."""
    gtp, topk = _method_rows(path, "gtp"), _method_rows(path, "top-k")
    if gtp.is_empty() or topk.is_empty():
        return "Residual against budget"
    best = topk.filter(pl.col(column) == topk[column].min()).row(0, named=True)
    reached = gtp.filter(pl.col(column) <= best[column])
    if reached.is_empty():
        return f"GTP does not reach top-k's best residual of {best[column]:.2f}"
    first = reached.row(0, named=True)
    if first["budget"] >= best["budget"]:
        than = "as many samples as" if first["budget"] == best["budget"] else "more samples than"
        return f"GTP needs {than} top-k for residual {best[column]:.2f}"
    share = 1 - first["budget"] / best["budget"]
    few = f"{share:.0%} fewer samples"
    if share > _NEARLY_ALL:
        few = f"{first['budget']:,} samples instead of {best['budget']:,}"
    return f"GTP reaches top-k's best residual ({best[column]:.2f}) with {few}"


def _budget_axis(figure: go.Figure, path: pl.DataFrame) -> None:
    """Budgets by their logarithm; over many decades one label each, or the last ones would meet."""
    figure.update_xaxes(type="log", tickformat=",")
    budgets = path["budget"].to_list()
    if max(budgets, default=0) > _MANY_DECADES * min(budgets, default=0):
        figure.update_xaxes(dtick=1)


def _held_out_title(path: pl.DataFrame, stop: int | None) -> str:
    gtp = _method_rows(path, "gtp")["match"].drop_nulls()
    if len(gtp) == 0:
        return "No held-out match: the task has fewer than two examples"
    if stop is None:
        return "No budget matches the held-out examples"
    return f"More than {stop:,} samples add little for GTP"
