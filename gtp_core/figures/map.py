"""The map: all samples as density, the chosen as small shapes, GTP beside top-k on one scale.

Chosen samples are drawn as polygons of a line trace, because plotly selects markers: a lasso would
send each of them to the server. So it sends its own corners and nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from gtp_core.figures.theme import Picture, Theme, colour, lay_out, word

MAP_HEIGHT = 620
_MOST_SHAPES = 5000
_SIZE = 0.0065  # half the width of a shape, in units of the map
_SHAPES = {
    "gtp": [(np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 9)],
    "top-k": [(0, 1.25), (1.25, 0), (0, -1.25), (-1.25, 0), (0, 1.25)],
    "both": [(1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1)],
    "example": [  # a star
        *((0, 1.9), (0.45, 0.6), (1.8, 0.6), (0.7, -0.25), (1.1, -1.5), (0, -0.75)),
        *((-1.1, -1.5), (-0.7, -0.25), (-1.8, 0.6), (-0.45, 0.6), (0, 1.9)),
    ],
}


def map_figure(
    density: np.ndarray,
    finding: str,
    xy: np.ndarray,
    panels: Mapping[str, Mapping[str, np.ndarray]],
    labels: pl.DataFrame,
    theme: Theme,
    *,
    examples: np.ndarray | None = None,
    region: np.ndarray | None = None,
) -> Picture:
    """Panels on the same axes, each with the density of all samples and what was chosen.

    Args:
        density: (bins, bins) uint8 on a log scale.
        finding: what the figure says, its title.
        xy: (n_samples, 2) in the unit square.
        panels: by title, the rows of each class: `gtp`, `top-k`, `both`.
        labels: x, y, text of the topics.
        theme: light or dark.
        examples: (n_examples, 2) where validation examples lie.
        region: (n_corners, 2) what is marked.
    """
    figure = go.Figure()
    for number, (_, classes) in enumerate(panels.items(), 1):
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"} if number > 1 else {}
        figure.add_trace(_density(density, theme, axes))
        # A point that nobody sees: without one, plotly offers no lasso.
        figure.add_scatter(
            x=[-1], y=[-1], mode="markers", hoverinfo="skip", showlegend=False, **axes
        )
        for name, rows in classes.items():
            figure.add_trace(_shapes(name, xy[rows[:_MOST_SHAPES]], theme, axes, number == 1))
        if examples is not None and len(examples):
            figure.add_trace(_shapes("example", examples, theme, axes, number == 1))
    title = finding
    lay_out(figure, theme, title=title, x="", y="", height=MAP_HEIGHT)
    _place_axes(figure, len(panels))
    _label(figure, labels, len(panels), theme)
    _mark(figure, region, len(panels), theme)
    figure.update_layout(hovermode=False, dragmode="lasso", showlegend=True)
    table = pl.DataFrame(
        [(name, kind, len(rows)) for name, c in panels.items() for kind, rows in c.items()],
        schema=["panel", "class", "samples"],
        orient="row",
    )
    alt = (
        f"Map of {int(np.isfinite(xy[:, 0]).sum()):,} samples as density with the chosen. {title}."
    )
    return Picture(figure, alt, table)


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


def _shapes(
    name: str, places: np.ndarray, theme: Theme, axes: dict[str, str], legend: bool
) -> go.Scatter:
    """A small polygon at every place, all in one line with gaps."""
    corners = np.array(_SHAPES[name], np.float32) * _SIZE
    gap = np.full((1, 2), np.nan, np.float32)
    one = np.vstack([corners, gap])
    points = (places[:, None, :].astype(np.float32) + one[None]).reshape(-1, 2)
    shade = colour(theme, "ink" if name == "example" else name)
    return go.Scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="lines",
        fill="toself",
        fillcolor="rgba(0,0,0,0)" if name == "example" else shade,
        line={"color": shade, "width": 1},
        name={"example": "validation examples", "both": "both"}.get(name, word(name)),
        legendgroup=name,
        showlegend=legend or name == "top-k",
        hoverinfo="skip",
        **axes,
    )


def _place_axes(figure: go.Figure, count: int) -> None:
    width = 1 / count
    for number in range(1, count + 1):
        suffix = "" if number == 1 else str(number)
        gap = 0.005 if count > 1 else 0
        axis = {
            "range": [0, 1],
            "showgrid": False,
            "zeroline": False,
            "showticklabels": False,
            "mirror": True,
            "showline": True,
        }
        domain = [(number - 1) * width + gap, number * width - gap]
        more = {"matches": "x"} if number > 1 else {}
        x = axis | {"domain": domain, "anchor": f"y{suffix}"} | more
        y = axis | {"anchor": f"x{suffix}"} | ({"matches": "y"} if number > 1 else {})
        figure.update_layout({f"xaxis{suffix}": x, f"yaxis{suffix}": y})


def _label(figure: go.Figure, labels: pl.DataFrame, count: int, theme: Theme) -> None:
    paper = colour(theme, "paper")
    for number in range(1, count + 1):
        suffix = "" if number == 1 else str(number)
        for x, y, text in labels.rows():
            figure.add_annotation(
                x=x,
                y=y,
                xref=f"x{suffix}",
                yref=f"y{suffix}",
                text=word(text),
                showarrow=False,
                font={"size": 11, "color": colour(theme, "ink")},
                bgcolor=paper,
                opacity=0.65,
            )


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
