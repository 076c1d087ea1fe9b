"""Colours, symbols and layout of every figure, in light and in dark.

The colours of GTP, top-k and both keep a CIEDE2000 distance of at least 24 from each other for
normal sight, protanopia, deuteranopia and tritanopia, and of at least 17 from the grey of random;
none relies on red against green. Method names carry a symbol and a word as well.
"""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go
import polars as pl

_MAX_LABEL = 30  # letters of a name on an axis
Theme = Literal["light", "dark"]

COLOURS = {
    "light": {
        "gtp": "#0072B2",
        "top-k": "#C25700",
        "both": "#1B1B1B",
        "random": "#8A929B",
        "ink": "#31333F",
        "grid": "#E6E8EB",
        "paper": "#FFFFFF",
        "band": "rgba(138,146,155,0.22)",
    },
    "dark": {
        "gtp": "#56B4E9",
        "top-k": "#F0A030",
        "both": "#F5F5F5",
        "random": "#8A929B",
        "ink": "#FAFAFA",
        "grid": "#333842",
        "paper": "#171612",
        "band": "rgba(138,146,155,0.25)",
    },
}
WORDS = {"gtp": "GTP", "top-k": "top-k", "random": "random"}
SYMBOLS = {"gtp": "circle", "top-k": "diamond", "random": "x", "both": "square"}
DASHES = {"gtp": "solid", "top-k": "dash", "random": "dot"}
HEIGHT = 320
SMALL_HEIGHT = 230


@dataclass(frozen=True)
class Picture:
    """A figure with what it says in one sentence and the numbers it draws."""

    figure: go.Figure
    alt: str
    table: pl.DataFrame


def colour(theme: Theme, name: str) -> str:
    """The colour of a class (`gtp`, `top-k`, `both`, `random`) or part (`ink`, `grid`, `band`)."""
    return COLOURS[theme].get(name, COLOURS[theme]["random"])


def word(name: str) -> str:
    """A method's name as shown; names of sources and tasks are made harmless for plotly."""
    return WORDS.get(name, html.escape(name, quote=False))


def short_labels(names: Iterable[str]) -> list[str]:
    """Names short enough for an axis, harmless for plotly, and still different from each other."""
    labels: list[str] = []
    for name in names:
        label = word(name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…")
        labels.append(label if label not in labels else f"{label} ({len(labels) + 1})")
    return labels


def lay_out(
    figure: go.Figure,
    theme: Theme,
    *,
    title: str,
    x: str,
    y: str,
    height: int = HEIGHT,
) -> go.Figure:
    """The look every figure shares: a title that states the finding, quiet axes, one legend."""
    ink, grid = colour(theme, "ink"), colour(theme, "grid")
    axis = {"gridcolor": grid, "linecolor": grid, "zerolinecolor": grid, "automargin": True}
    figure.update_layout(
        title={"text": title, "font": {"size": 16}, "x": 0, "xanchor": "left", "y": 0.97},
        height=height,
        margin={"l": 8, "r": 12, "t": 64, "b": 8},
        font={"color": ink, "size": 12, "family": '"Source Sans", sans-serif'},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"traceorder": "normal", "orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        hovermode="x unified",
        hoverlabel={"bgcolor": "#FFFFFF" if theme == "light" else "#1A1D24", "font_color": ink},
        uirevision="keep",
        transition={"duration": 0},
    )
    figure.update_xaxes(title={"text": x, "standoff": 6}, **axis)
    figure.update_yaxes(title={"text": y, "standoff": 6}, **axis)
    return figure
