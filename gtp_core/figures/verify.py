"""Figures of trained models: learning curves, what training took off, and what foretold it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import HEIGHT, Picture, Theme, colour, lay_out, short_labels, word

_SHADES = {"gtp": "gtp", "top-k": "top-k", "random": "random", "full": "both"}
_SYMBOLS = {"gtp": "circle", "top-k": "diamond", "random": "x", "full": "square"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_PATTERNS = ("", "/", "x", ".", "\\")
_MOST_NAMED = 14  # points that carry their name
Methods = Mapping[str, str]
"""For every subset, by the name it is shown with, the method it was chosen by."""


def curves_figure(table: pl.DataFrame, methods: Methods, theme: Theme) -> Picture:
    """Test loss by step, one line a subset, with the 95 % interval of its mean over seeds.

    Args:
        table: as `telling.curves` makes it, arms by the names of `methods`.
        methods: the order of the lines, and their colours.
        theme: light or dark.
    """
    figure = go.Figure()
    for name, turn in _turns(methods):
        mine = table.filter(pl.col("arm") == name)
        shade = _shade(theme, methods[name])
        band = mine.filter(pl.col("low").is_not_null())
        if band.height:
            around = pl.concat([band["high"], band["low"].reverse()])
            figure.add_scatter(
                x=pl.concat([band["step"], band["step"].reverse()]).to_numpy(),
                y=around.to_numpy(),
                mode="lines",
                fill="toself",
                fillcolor=_faint(shade),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=mine["step"].to_numpy(),
            y=mine["loss"].to_numpy(),
            name=word(name),
            mode="lines+markers",
            line={"color": shade, "width": 2, "dash": _DASHES[turn % len(_DASHES)]},
            marker={"symbol": _symbol(methods[name]), "size": 7, "color": shade},
            hovertemplate="%{y:.3f}",
        )
    ends = table.sort("step").group_by("arm", maintain_order=True).last().sort("loss")
    title = "No test loss was measured"
    if ends.height:
        title = f"{word(ends['arm'][0])} ends lowest, at {ends['loss'][0]:.3f} nats"
    lay_out(figure, theme, title=title, x="optimizer step", y="test loss, nats", height=HEIGHT + 60)
    _legend_below(figure)
    return Picture(figure, f"Test loss by step, with intervals over seeds. {title}.", table)


def bars_figure(
    table: Sequence[Mapping[str, Any]], measure: str, methods: Methods, theme: Theme
) -> Picture:
    """A bar a subset with its interval: what training took off the loss, or the exact match.

    Losses are shown as what they lie below the untrained model's, so that bars begin at nothing;
    where that is not known, as they are.

    Args:
        table: rows of `answer`, the untrained model first.
        measure: test_loss or exact_match.
        methods: by the name of each row, in their order.
        theme: light or dark.
    """
    base, loss = table[0][measure], measure == "test_loss"
    below = loss and base is not None
    ends = ("", "_high", "_low") if below else ("", "_low", "_high")  # below: low ends high
    rows = [
        (row["arm"], *(_bar(row[f"{measure}{end}"], base, below) for end in ends))
        for row in table[1:]
        if row[measure] is not None
    ]
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    shown = pl.DataFrame(rows, schema={"arm": pl.String, **numbers}, orient="row")
    figure = go.Figure()
    turns = dict(_turns(methods))
    reach = [
        None if low is None or high is None else (high - low) / 2
        for low, high in shown.select("low", "high").rows()
    ]
    figure.add_bar(
        x=shown["value"].to_numpy(),
        y=short_labels(shown["arm"]),
        orientation="h",
        marker={
            "opacity": 0.75,  # a whisker over a bar of its own colour is seen
            "color": [_shade(theme, methods[name]) for name in shown["arm"]],
            "pattern": {
                "shape": [_PATTERNS[turns[name] % len(_PATTERNS)] for name in shown["arm"]],
                "fgcolor": colour(theme, "paper"),
            },
        },
        error_x={
            "type": "data",
            "array": reach,
            "color": colour(theme, "ink"),
            "thickness": 1.5,
            "width": 6,
        },
        hovertemplate="%{x:.3f}<extra></extra>" if loss else "%{x:.1%}<extra></extra>",
    )
    title, x = _bar_words(shown, base, loss=loss, below=below)
    lay_out(figure, theme, title=title, x=x, y="", height=130 + 34 * max(shown.height, 2))
    if not loss and base is not None:
        figure.add_vline(
            x=base,
            line={"color": colour(theme, "ink"), "width": 1, "dash": "dot"},
            annotation={"text": "untrained", "font": {"color": colour(theme, "ink")}},
        )
    figure.update_layout(showlegend=False, hovermode="closest")
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickformat="" if loss else ".0%", rangemode="tozero")
    return Picture(figure, f"{title}. Whiskers are 95 % intervals over seeds.", shown)


def foretold_figure(
    table: pl.DataFrame,
    judge: str,
    words: str,
    names: Mapping[str, str],
    methods: Methods,
    theme: Theme,
) -> Picture:
    """Every subset by what it was judged by before training, and by its test loss after it.

    Args:
        table: as `telling.judged` makes it.
        judge: column of the horizontal axis, and in `words`.
        names, methods: of arms: what to call them, and by what they were chosen.
    """
    arms = (
        table.filter(pl.col(judge).is_not_null() & pl.col("loss").is_not_null())
        .group_by("arm", maintain_order=True)
        .agg(pl.col(judge).mean(), pl.col("loss").mean(), pl.len().alias("models"))
        .sort(judge)
    )
    labels = short_labels(names.get(arm, arm) for arm in arms["arm"])
    kinds = [methods.get(names.get(arm, arm), "") for arm in arms["arm"]]
    named = arms.height <= _MOST_NAMED
    figure = go.Figure()
    figure.add_scatter(
        x=arms[judge].to_numpy(),
        y=arms["loss"].to_numpy(),
        mode="markers+text" if named else "markers",
        text=labels,
        # Above and below by turns: names of neighbours would lie on each other.
        textposition=[("top", "bottom")[at % 2] + " center" for at in range(arms.height)],
        marker={
            "size": 11,
            "color": [_shade(theme, kind) for kind in kinds],
            "symbol": [_symbol(kind) for kind in kinds],
        },
        hovertemplate="%{text}: %{x:.3f}, %{y:.3f} nats<extra></extra>",
    )
    title = f"{arms.height:,} subsets by {words} and by what they trained"
    lay_out(figure, theme, title=title, x=words, y="test loss, nats", height=HEIGHT + 60)
    figure.update_layout(showlegend=False, hovermode="closest")
    return Picture(figure, f"{title}.", arms)


def _bar(value: float | None, base: float | None, below: bool) -> float | None:
    return None if value is None else base - value if below and base is not None else value


def _bar_words(
    shown: pl.DataFrame, base: float | None, *, loss: bool, below: bool
) -> tuple[str, str]:
    """The title, which says the finding, and what the axis is."""
    if not shown.height:
        return "Nothing was measured", ""
    best = shown.sort("value", descending=below or not loss).row(0, named=True)
    name, value = word(best["arm"]), best["value"]
    if below:
        what = f"takes most off the test loss: {value:.3f} nats"
        if value <= 0:
            return "No subset lowers the test loss", "nats below the untrained model's test loss"
        return f"{name} {what}", "nats below the untrained model's test loss"
    if loss:
        return f"{name} has the lowest test loss, {value:.3f} nats", "test loss, nats"
    if base is not None and value <= base:
        return f"No subset answers more right than the untrained model's {base:.1%}", "exact match"
    return f"{name} answers most test examples right: {value:.1%}", "exact match"


def _turns(methods: Methods) -> Iterable[tuple[str, int]]:
    """Every name, and how many before it have its method: they share a colour, not a pattern."""
    met: dict[str, int] = {}
    for name, method in methods.items():
        shade = _SHADES.get(method, "random")
        met[shade] = met.get(shade, -1) + 1
        yield name, met[shade]


def _shade(theme: Theme, method: str) -> str:
    return colour(theme, _SHADES.get(method, "random"))


def _symbol(method: str) -> str:
    return _SYMBOLS.get(method, "triangle-up")


def _faint(shade: str) -> str:
    red, green, blue = (int(shade[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"


def _legend_below(figure: go.Figure) -> None:
    """Many long names above a figure would cover its title."""
    figure.update_layout(legend={"y": -0.22, "yanchor": "top"})
