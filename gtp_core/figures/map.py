"""The map: all samples as density, the chosen as points, GTP beside top-k on one scale."""

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import SYMBOLS, Picture, Theme, colour, lay_out, word

MAP_HEIGHT = 620
MOST_POINTS = 3000  # of a class that are drawn: a megabyte with what is said of them
_NAMES = {"example": "validation examples"}
_SIZES = {"example": 13, "both": 7}
_SYMBOLS = SYMBOLS | {"example": "star-open"}


def map_figure(
    density: np.ndarray,
    finding: str,
    xy: np.ndarray,
    panels: Mapping[str, Mapping[str, np.ndarray]],
    labels: pl.DataFrame,
    theme: Theme,
    *,
    words: Mapping[int, str] | None = None,
    examples: np.ndarray | None = None,
    example_words: Sequence[str] = (),
    region: np.ndarray | None = None,
    raw: np.ndarray | None = None,
) -> Picture:
    """Panels on the same axes, each with the density of samples and what was chosen.

    Args:
        density: (bins, bins) uint8 on a log scale.
        finding: what the figure says, its title.
        xy: (n_samples, 2) in the unit square.
        panels: by title, the rows of each class: `gtp`, `top-k`, `both`.
        labels: x, y, text of the topics.
        theme: light or dark.
        words: by row, what is said of a chosen sample under the mouse, a line each.
        examples: (n_examples, 2) where validation examples lie.
        example_words: what is said of each of them.
        region: (n_corners, 2) what is marked.
        raw: rows that are drawn as points of their own.
    """
    figure = go.Figure()
    known = words or {}
    # WebGL lies above SVG: beside points that need it, the chosen would be hidden.
    kind = go.Scatter if raw is None else go.Scattergl
    for number, (_, classes) in enumerate(panels.items(), 1):
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"} if number > 1 else {}
        figure.add_trace(_density(density, theme, axes))
        figure.add_trace(_everybody(theme, number == 1, axes, together=len(panels) == 1))
        if raw is not None:
            figure.add_trace(_raw(xy[raw], theme, number == 1, axes))
        for name, rows in classes.items():
            some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).astype(int)]
            said = [known.get(row, "") for row in some.tolist()]
            legend = number == 1 or name == "top-k"
            figure.add_trace(_points(name, xy[some], said, theme, legend, kind, axes))
        if examples is not None and len(examples):
            said = list(example_words) or [""] * len(examples)
            figure.add_trace(_points("example", examples, said, theme, number == 1, kind, axes))
    lay_out(figure, theme, title=finding, x="", y="", height=MAP_HEIGHT)
    _place_axes(figure, len(panels), theme)
    # All at once: plotly looks at every one again whenever one is added (0.7 s for thirty).
    figure.update_layout(annotations=[*_titles(panels), *_names(labels, len(panels), theme)])
    _mark(figure, region, len(panels), theme)
    figure.update_layout(hovermode="closest", dragmode="lasso", showlegend=True)
    table = pl.DataFrame(
        [(name, kind, len(rows)) for name, c in panels.items() for kind, rows in c.items()],
        schema=["panel", "class", "samples"],
        orient="row",
    )
    placed = int(np.isfinite(xy[:, 0]).sum())
    return Picture(
        figure, f"Map of {placed:,} samples as density with the chosen. {finding}.", table
    )


def _density(density: np.ndarray, theme: Theme, axes: dict[str, str]) -> go.Heatmap:
    bins = len(density)
    return go.Heatmap(
        z=density,
        x0=0.5 / bins,
        dx=1 / bins,
        y0=0.5 / bins,
        dy=1 / bins,
        colorscale=[
            [0, "rgba(138,146,155,0)"],
            [0.004, "rgba(138,146,155,0.3)"],
            [1, "rgba(138,146,155,1)"],
        ],
        zmin=0,
        zmax=255,
        showscale=False,
        hoverinfo="skip",
        **axes,
    )


def _everybody(theme: Theme, legend: bool, axes: dict[str, str], *, together: bool) -> go.Scatter:
    """A point outside: what the legend shows of the density, and what plotly wants for a lasso."""
    return go.Scatter(
        x=[-1],
        y=[-1],
        mode="markers",
        marker={"color": colour(theme, "random"), "symbol": "square", "size": 9},
        name="neither (density)" if together else "everyone (density)",
        showlegend=legend,
        hoverinfo="skip",
        **axes,
    )


def _raw(places: np.ndarray, theme: Theme, legend: bool, axes: dict[str, str]) -> go.Scattergl:
    """Samples as they lie, by WebGL: twenty thousand are too many for SVG."""
    return go.Scattergl(
        x=places[:, 0].astype(np.float32),
        y=places[:, 1].astype(np.float32),
        mode="markers",
        marker={"color": colour(theme, "ink"), "size": 2, "opacity": 0.3},
        unselected={"marker": {"opacity": 0.3}},
        name="samples of the region",
        showlegend=legend,
        hoverinfo="skip",
        **axes,
    )


def _points(
    name: str,
    places: np.ndarray,
    said: Sequence[str],
    theme: Theme,
    legend: bool,
    kind: type[go.Scatter | go.Scattergl],
    axes: dict[str, str],
) -> go.Scatter | go.Scattergl:
    """A class of samples; what is said of them travels as data, never as a template."""
    return kind(
        x=places[:, 0].astype(np.float32),
        y=places[:, 1].astype(np.float32),
        customdata=[_line(text) for text in said],
        hovertemplate="%{customdata}<extra></extra>",
        mode="markers",
        marker={
            "color": colour(theme, "ink" if name == "example" else name),
            "symbol": _SYMBOLS[name],
            "size": _SIZES.get(name, 6),
            "line": {"width": 1 if name == "example" else 0.5, "color": colour(theme, "paper")},
        },
        # Plotly dims what a lasso leaves out; here the lasso is about all samples.
        unselected={"marker": {"opacity": 1}},
        name=_NAMES.get(name, word(name)),
        legendgroup=name,
        showlegend=legend,
        **axes,
    )


def _line(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _place_axes(figure: go.Figure, count: int, theme: Theme) -> None:
    """The panels side by side, on one scale."""
    width = 1 / count
    gap = 0.005 if count > 1 else 0
    axis = {
        "range": [0, 1],
        "showgrid": False,
        "zeroline": False,
        "showticklabels": False,
        "ticks": "",
        "mirror": True,
        "showline": True,
        "linecolor": colour(theme, "grid"),
    }
    for number in range(1, count + 1):
        suffix = "" if number == 1 else str(number)
        domain = [(number - 1) * width + gap, number * width - gap]
        more = {"matches": "x"} if number > 1 else {}
        x = axis | {"domain": domain, "anchor": f"y{suffix}"} | more
        y = axis | {"anchor": f"x{suffix}"} | ({"matches": "y"} if number > 1 else {})
        figure.update_layout({f"xaxis{suffix}": x, f"yaxis{suffix}": y})
    ink = colour(theme, "ink")
    figure.update_layout(
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": ink, "activecolor": colour(theme, "gtp")}
    )


def _titles(panels: Iterable[str]) -> list[dict[str, object]]:
    """Every panel's title in its corner."""
    return [
        {
            "x": 0.01,
            "y": 0.99,
            "xref": f"x{'' if number == 1 else number} domain",
            "yref": f"y{'' if number == 1 else number} domain",
            "xanchor": "left",
            "yanchor": "top",
            "text": word(title),
            "showarrow": False,
            "font": {"weight": "bold", "size": 13},
        }
        for number, title in enumerate(panels, 1)
    ]


def _names(labels: pl.DataFrame, count: int, theme: Theme) -> list[dict[str, object]]:
    """The topics' names where they lie, in every panel."""
    return [
        {
            "x": x,
            "y": y,
            "xref": f"x{'' if number == 1 else number}",
            "yref": f"y{'' if number == 1 else number}",
            "text": word(text),
            "showarrow": False,
            "font": {"size": 11, "color": colour(theme, "ink")},
            "bgcolor": colour(theme, "paper"),
            "opacity": 0.65,
        }
        for number in range(1, count + 1)
        for x, y, text in labels.rows()
    ]


def _mark(figure: go.Figure, region: np.ndarray | None, count: int, theme: Theme) -> None:
    if region is None:
        return
    path = "M " + " L ".join(f"{x:.4f},{y:.4f}" for x, y in region.tolist()) + " Z"
    for number in range(1, count + 1):
        suffix = "" if number == 1 else str(number)
        figure.add_shape(
            type="path",
            path=path,
            xref=f"x{suffix}",
            yref=f"y{suffix}",
            line={"color": colour(theme, "ink"), "width": 2, "dash": "dot"},
        )


def topic_labels(
    xy: np.ndarray, topic: np.ndarray, names: Sequence[str], most: int = 14
) -> pl.DataFrame:
    """Where to write the names of the largest topics: x, y, text; none over another."""
    placed: list[tuple[float, float, str]] = []
    for number, name in enumerate(names):
        here = xy[(topic == number) & np.isfinite(xy[:, 0])]
        if len(here) == 0:
            continue
        x, y = np.median(here, axis=0).tolist()
        free = all(abs(x - a) > 0.2 or abs(y - b) > 0.035 for a, b, _ in placed)
        if free and len(placed) < most:
            placed.append((x, y, name))
    return pl.DataFrame(
        placed, schema={"x": pl.Float64, "y": pl.Float64, "text": pl.String}, orient="row"
    )
