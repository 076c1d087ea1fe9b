"""A trial as a picture: a panel for every task, loss against budget, a line for every way."""

from collections.abc import Sequence
from html import escape
from math import log

import polars as pl

from benchmarks.selection_quality.grounds import IN_DOMAIN
from benchmarks.selection_quality.results import interval
from benchmarks.selection_quality.ways import COUNTERPART, FULL

LINES = {
    "gtp": ("#0072B2", "", "GTP, weighted"),
    "gtp uniform": ("#56B4E9", "", "GTP, uniform"),
    "gtp, ridge alike": ("#0E8A8A", "5 2", "GTP, ridge alike"),
    "omp": ("#1B1B1B", "2 3", "OMP = GRAD-MATCH"),
    "top-k": ("#C25700", "7 3", "top-k"),
    "craig": ("#A070B0", "1 3", "CRAIG"),
    "random": ("#8A929B", "3 3", "random"),
    COUNTERPART: ("#2E8B57", "9 3 2 3", "own kind, by chance"),
}
_WIDE, _HIGH, _LEFT, _TOP, _GAP, _PANEL = 760, 290, 52, 58, 18, 220
_LEAST = 3  # seeds: an interval of two is as wide as the panel
_INK, _GRID = "#31333F", "#E6E8EB"


def picture(table: pl.DataFrame) -> str:
    """Mean loss over the full pool's with 95 % intervals over seeds, as an SVG document."""
    known = table.filter(pl.col("share").is_between(0.1, 99) & pl.col("way").is_in([*LINES]))
    tasks = sorted(known["task"].unique().to_list(), key=lambda task: (task == IN_DOMAIN, task))
    shares = known["share"].unique().sort().to_list()
    columns = 2
    rows = -(-len(tasks) // columns)
    high = _TOP + rows * _HIGH
    told = f"Test loss over the full pool's against budget, {shares[0]:g} to {shares[-1]:g} %"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {high}" '
        f'font-family="sans-serif" font-size="12" fill="{_INK}">',
        f"<title>{told}, by task and way of choosing</title>",
        f'<rect width="{_WIDE}" height="{high}" fill="#ffffff"/>',
        *_legend([way for way in LINES if way in known["way"]]),
    ]
    wide = (_WIDE - _LEFT) / columns
    for number, task in enumerate(tasks):
        left = _LEFT + (number % columns) * wide
        top = _TOP + (number // columns) * _HIGH
        mine = known.filter(pl.col("task") == task)
        base = table.filter((pl.col("way") == "base") & (pl.col("task") == task))["relative"]
        lines += _panel(mine, task, base.to_list(), left, top, wide - _GAP - 30)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend(ways: Sequence[str]) -> list[str]:
    lines = []
    for number, way in enumerate(ways):
        colour, dash, name = LINES[way]
        x, y = _LEFT + 175 * (number % 4), 18 + 20 * (number // 4)
        lines.append(_path(f"M{x} {y}h28", colour, dash))
        lines.append(f'<text x="{x + 34}" y="{y + 4}">{escape(name)}</text>')
    return lines


def _path(way: str, colour: str, dash: str = "", width: float = 2) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _panel(
    mine: pl.DataFrame, task: str, base: list[float], left: float, top: float, wide: float
) -> list[str]:
    points = {
        (way, share): interval(cell["relative"].to_list())
        for (way, share), cell in mine.group_by("way", "share")
    }
    few = mine.group_by("way", "share").len().filter(pl.col("len") < _LEAST)
    points |= {key: (points[key][0], float("nan")) for key in few.select("way", "share").rows()}
    ends = [m + s * (r if r == r else 0) for m, r in points.values() for s in (-1, 1)] + [1.0]
    low, high = min(ends), max(ends)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    shares = sorted(mine["share"].unique())
    first, last = log(shares[0]), log(max(shares[-1], 1.01 * shares[0]))

    def across(share: float) -> float:
        return left + 8 + (wide - 16) * (log(share) - first) / (last - first)

    def up(value: float) -> float:
        return top + 20 + _PANEL * (high - value) / (high - low)

    bottom = top + 20 + _PANEL
    lines = [f'<text x="{left}" y="{top + 2}" font-weight="bold">{escape(task)}</text>']
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if (high - low) / s < 9)
    for tick in (step * n for n in range(int(low / step), int(high / step) + 1)):
        if low <= tick <= high:
            lines.append(_path(f"M{left} {up(tick):.1f}h{wide:.1f}", _GRID, width=1))
            where = f'x="{left - 6:.1f}" y="{up(tick) + 4:.1f}" text-anchor="end"'
            lines.append(f"<text {where}>{tick:.2f}</text>")
    lines.append(_path(f"M{left} {up(1.0):.1f}h{wide:.1f}", _INK, width=1))
    where = f'x="{left + wide:.1f}" y="{up(1.0) - 4:.1f}" text-anchor="end"'
    lines.append(f"<text {where}>{FULL} pool</text>")
    if base and low <= base[0] <= high:
        lines.append(_path(f"M{left} {up(base[0]):.1f}h{wide:.1f}", _INK, "1 4", width=1))
        lines.append(f'<text x="{left + 4}" y="{up(base[0]) - 4:.1f}">base model</text>')
    for share in shares:
        where = f'x="{across(share):.1f}" y="{bottom + 16}" text-anchor="middle"'
        lines.append(f"<text {where}>{share:g} %</text>")
    for way, (colour, dash, _) in LINES.items():
        known = [(share, *points[way, share]) for share in shares if (way, share) in points]
        route = "L".join(f"{across(s):.1f} {up(m):.1f}" for s, m, _ in known)
        lines += [_path(f"M{route}", colour, dash)] if len(known) > 1 else []
        for share, mean, reach in known:
            x = across(share)
            lines.append(f'<circle cx="{x:.1f}" cy="{up(mean):.1f}" r="3" fill="{colour}"/>')
            if reach > 0:  # not NaN
                bar = f"M{x:.1f} {up(mean - reach):.1f}V{up(mean + reach):.1f}"
                lines.append(_path(bar, colour, width=1))
    return lines
