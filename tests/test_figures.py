"""Promises of gtp_core.figures: the data of every figure, its words and its colours; no pixels."""

import itertools
import json
import math
import re

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from gtp_core.atoms import pose
from gtp_core.figures import (
    COLOURS,
    Picture,
    checkpoint_figure,
    colour,
    held_out_figure,
    length_figure,
    norm_figure,
    overlap_figure,
    residual_figure,
    rounds_figure,
    source_figure,
    word,
)
from gtp_core.methods import METHODS, Settings, select
from gtp_core.report import (
    budget_path,
    checkpoint_match,
    enough,
    length_bias,
    length_table,
    norm_table,
    overlap,
    rounds_table,
    source_mix,
)

THEMES = ("light", "dark")
BUDGETS = [2, 4, 6, 9]
HOSTILE = [
    "<b>bold</b>",
    '<a href="http://evil.example">here</a>',
    "<img src=x onerror=alert(1)>",
    "%{y}<br><i>&amp;</i>",
    "</text><script>alert(1)</script>",
]


@pytest.fixture(scope="module")
def problem(catalog):
    return pose(catalog, "maths", n_splits=2)


@pytest.fixture(scope="module")
def path(problem):
    return budget_path(problem, BUDGETS, Settings())


@pytest.fixture(scope="module")
def pictures(catalog, problem, path) -> dict[str, dict[str, Picture]]:
    """Every figure of the app in both themes, from one small store."""
    gtp, topk = select(problem, 6), select(problem, 6, method="top-k")
    matches = checkpoint_match(catalog, problem, {"gtp": gtp, "top-k": topk})
    mix = source_mix(catalog, {"gtp": gtp.support, "top-k": topk.support})
    return {
        theme: {
            "residual": residual_figure(path, theme, budget=6, noise_floor=0.4),
            "held-out": held_out_figure(path, theme, budget=6, stop=enough(path)),
            "rounds": rounds_figure(rounds_table(gtp), theme),
            "overlap": overlap_figure(overlap(gtp.support, topk.support), theme),
            "checkpoints": checkpoint_figure(matches, theme),
            "sources": source_figure(mix, theme),
            "norms": norm_figure(norm_table(catalog), theme),
            "lengths": length_figure(length_table(catalog), length_bias(catalog), theme),
        }
        for theme in THEMES
    }


FIGURES = (
    "residual",
    "held-out",
    "rounds",
    "overlap",
    "checkpoints",
    "sources",
    "norms",
    "lengths",
)


def trace(picture: Picture, name: str):
    found = [t for t in picture.figure.data if t.name == name]
    assert len(found) == 1, [t.name for t in picture.figure.data]
    return found[0]


def title_of(picture: Picture) -> str:
    return picture.figure.layout.title.text


def made_path(gtp, topk, match=None) -> pl.DataFrame:
    """A path of invented residuals at budgets 10, 20, 30, ... with three random draws."""
    rows = []
    for i in range(len(gtp)):
        for method, seed, value in [
            ("gtp", 0, gtp[i]),
            ("top-k", 0, topk[i]),
            *(("random", seed, 0.9 + seed / 100) for seed in range(3)),
        ]:
            held = None if match is None else match[i]
            rows.append((method, seed, 10 * (i + 1), value, value, held, held and 0.5))
    schema = {
        "method": pl.String,
        "seed": pl.Int64,
        "budget": pl.Int64,
        "residual_weighted": pl.Float64,
        "residual_as_trained": pl.Float64,
        "match": pl.Float64,
        "ceiling": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


# --- every figure ----------------------------------------------------------------------------


def test_both_themes_hold_every_figure(pictures):
    assert set(pictures["light"]) == set(pictures["dark"]) == set(FIGURES)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_it_found_in_words(pictures, theme, name):
    picture = pictures[theme][name]
    assert isinstance(picture.figure, go.Figure)
    assert "\n" not in picture.alt
    assert picture.alt.endswith(".")
    assert ".." not in picture.alt
    assert "nan" not in picture.alt.lower()
    assert "None" not in picture.alt
    assert re.search(r"\d", picture.alt)
    assert title_of(picture) in picture.alt
    assert picture.table.height > 0


@pytest.mark.parametrize("name", FIGURES)
def test_themes_differ_in_colour_only(pictures, name):
    light, dark = (pictures[theme][name] for theme in THEMES)
    assert light.alt == dark.alt
    assert light.table.equals(dark.table)
    for a, b in zip(light.figure.data, dark.figure.data, strict=True):
        for axis in ("x", "y"):
            assert np.array_equal(np.asarray(getattr(a, axis)), np.asarray(getattr(b, axis)))
    assert light.figure.to_json() != dark.figure.to_json()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_small_on_the_wire(pictures, name):
    assert len(pictures["light"][name].figure.to_json()) < 100_000


# --- along the budget ------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["residual_weighted", "residual_as_trained", "match"])
def test_lines_carry_the_numbers_of_the_path(path, column):
    if column == "match":
        picture = held_out_figure(path, "light", budget=6, stop=None)
    else:
        picture = residual_figure(path, "light", budget=6, column=column)
    for method in ("gtp", "top-k"):
        rows = path.filter(pl.col("method") == method).sort("budget")
        drawn = trace(picture, word(method))
        assert list(drawn.x) == rows["budget"].to_list() == BUDGETS
        assert list(drawn.y) == rows[column].to_list() == picture.table[method].to_list()
    assert picture.table["budget"].to_list() == BUDGETS


def test_the_random_band_holds_nine_tenths_of_the_draws(path):
    picture = residual_figure(path, "light", budget=6)
    top, low, middle = picture.figure.data[:3]
    for i, budget in enumerate(BUDGETS):
        draws = path.filter((pl.col("method") == "random") & (pl.col("budget") == budget))
        values = np.sort(draws["residual_weighted"].to_numpy())
        assert len(values) == 10
        assert values[0] <= low.y[i] <= values[1]
        assert values[-2] <= top.y[i] <= values[-1]
        assert middle.y[i] == pytest.approx(np.median(values))
    assert list(middle.y) == picture.table["random, median"].to_list()
    assert list(low.y) == picture.table["random, 5 %"].to_list()
    assert list(top.y) == picture.table["random, 95 %"].to_list()


def test_the_noise_floor_and_the_ceiling_are_drawn_over_all_budgets(path):
    floor = trace(residual_figure(path, "light", budget=6, noise_floor=0.4), "noise floor")
    assert (list(floor.x), set(floor.y)) == (BUDGETS, {0.4})
    ceiling = trace(held_out_figure(path, "light", budget=6, stop=None), "ceiling")
    assert set(ceiling.y) == {path["ceiling"][0]}
    without = residual_figure(path, "light", budget=6)
    assert "noise floor" not in [t.name for t in without.figure.data]


def test_the_current_budget_is_marked(path):
    (mark,) = residual_figure(path, "light", budget=7).figure.layout.shapes
    assert mark.x0 == mark.x1 == 7


@pytest.mark.parametrize(("asked", "told"), [(6, 6), (7, 6), (8, 9), (500, 9)])
def test_the_words_name_the_budget_their_numbers_belong_to(path, asked, told):
    for column, picture in (
        ("residual_weighted", residual_figure(path, "light", budget=asked)),
        ("match", held_out_figure(path, "light", budget=asked, stop=4)),
    ):
        assert f"At budget {told}: " in picture.alt
        for method in ("gtp", "top-k"):
            here = path.filter((pl.col("method") == method) & (pl.col("budget") == told))
            assert f"{word(method)} {here[column].item():.3f}" in picture.alt


@pytest.mark.parametrize(
    ("gtp", "topk", "title"),
    [
        ([0.9, 0.5, 0.2], [0.9, 0.6, 0.5], "residual (0.50) with 33% fewer samples"),
        ([0.4, 0.3, 0.2], [0.9, 0.6, 0.5], "residual (0.50) with 67% fewer samples"),
        ([0.9, 0.8, 0.7], [0.6, 0.5, 0.6], "GTP does not reach top-k's best residual of 0.50"),
        ([0.9, 0.8, 0.5], [0.6, 0.5, 0.6], "GTP needs more samples than top-k for residual 0.50"),
        ([0.9, 0.5, 0.4], [0.6, 0.5, 0.6], "GTP needs as many samples as top-k for residual 0.50"),
    ],
)
def test_the_title_of_the_residual_is_the_finding(gtp, topk, title):
    assert title_of(residual_figure(made_path(gtp, topk), "light", budget=10)).endswith(title)


def test_over_many_decades_counts_take_the_place_of_percent_and_labels_do_not_meet():
    path = made_path([0.4, 0.3, 0.2], [0.9, 0.6, 0.5])
    few = residual_figure(path, "light", budget=10)
    budgets = pl.col("budget")
    last = pl.when(budgets == budgets.max()).then(13_534).otherwise(budgets)
    wide = path.with_columns(last.alias("budget"))
    many = residual_figure(wide, "light", budget=10)
    first = path["budget"].min()
    assert title_of(many).endswith(f"with {first} samples instead of 13,534")
    assert [p.figure.layout.xaxis.dtick for p in (few, many)] == [None, 1]


def test_the_title_of_the_held_out_match_is_the_finding():
    path = made_path([0.5] * 3, [0.6] * 3, match=[0.2, 0.4, 0.3])
    assert "More than 20 samples" in title_of(held_out_figure(path, "light", budget=20, stop=20))
    nothing = held_out_figure(path, "light", budget=20, stop=None)
    assert title_of(nothing) == "No budget matches the held-out examples"


def test_a_path_without_held_out_examples_is_said_to_have_none():
    picture = held_out_figure(made_path([0.5], [0.6]), "light", budget=10, stop=None)
    assert "No held-out match" in title_of(picture)
    assert picture.alt.endswith("fewer than two examples.")
    assert "ceiling" not in [t.name for t in picture.figure.data]


def test_a_path_of_one_budget_is_a_figure():
    picture = residual_figure(made_path([0.5], [0.6]), "light", budget=500)
    assert "At budget 10: GTP 0.500, top-k 0.600" in picture.alt


# --- rounds, overlap, sources, checkpoints, norms --------------------------------------------


def test_rounds_are_drawn_as_they_were(problem):
    rounds = rounds_table(select(problem, 6))
    picture = rounds_figure(rounds, "light")
    for column, sign in (("kept", 1), ("entered", 1), ("left", -1)):
        assert [sign * y for y in trace(picture, column).y] == rounds[column].to_list()
    assert list(trace(picture, "residual (right axis)").y) == rounds["residual"].to_list()
    assert picture.table.equals(rounds)
    assert f"residual {rounds['residual'][-1]:.3f} at the end" in picture.alt
    assert title_of(picture).startswith(f"{rounds.height} round")


def test_one_round_is_one_round(problem):
    picture = rounds_figure(rounds_table(select(problem, 6, method="top-k")), "light")
    assert title_of(picture).startswith("1 round,")


def test_overlap_counts_are_drawn_and_said():
    counts = overlap(np.arange(0, 1500), np.arange(1000, 3000))
    picture = overlap_figure(counts, "light")
    drawn = {t.name: t.x[0] for t in picture.figure.data}
    assert drawn == {"GTP only": 1000, "both": 500, "top-k only": 1500}
    assert dict(picture.table.rows()) == drawn
    assert picture.alt == (
        "500 of 3,000 samples are chosen by both (17%); 1,000 only by GTP, 1,500 only by top-k."
    )


def test_an_overlap_of_nothing_is_a_figure():
    picture = overlap_figure(overlap(np.empty(0, int), np.empty(0, int)), "light")
    assert picture.alt.startswith("0 of 0 samples are chosen by both (0%)")


def test_checkpoints_are_drawn_as_they_match(catalog, problem):
    selections = {name: select(problem, 6, method=name) for name in METHODS}
    matches = checkpoint_match(catalog, problem, selections)
    picture = checkpoint_figure(matches, "light")
    for name in METHODS:
        rows = matches.filter(pl.col("method") == name)
        drawn = trace(picture, word(name))
        assert list(drawn.x) == rows["checkpoint"].to_list()
        assert list(drawn.y) == rows["cosine"].to_list()
    worst = matches.filter(pl.col("method") == "gtp").sort("cosine").row(0, named=True)
    assert f"GTP matches {worst['checkpoint']} least ({worst['cosine']:.2f})" in picture.alt
    assert picture.table.equals(matches)


def mix_of(sources, gtp) -> pl.DataFrame:
    share = 1 / len(sources)
    return pl.DataFrame({"source": sources, "pool": [share] * len(sources), "gtp": gtp})


def test_sources_are_drawn_with_their_shares():
    picture = source_figure(mix_of(["a", "b"], [0.25, 0.75]), "light")
    assert list(trace(picture, "GTP").y) == ["b", "a"]
    assert list(trace(picture, "GTP").x) == [0.75, 0.25]
    assert list(trace(picture, "pool").x) == [0.5, 0.5]
    assert "GTP takes b 1.5 times its share of the pool" in picture.alt


def test_sources_that_look_like_numbers_stay_names():
    picture = source_figure(mix_of(["2023", "2024", "1e3"], [0.2, 0.3, 0.5]), "light")
    assert picture.figure.layout.yaxis.type == "category"
    matches = pl.DataFrame({"method": ["gtp"] * 2, "checkpoint": ["25", "100"], "cosine": [0.1, 1]})
    assert checkpoint_figure(matches, "light").figure.layout.xaxis.type == "category"


def test_long_names_that_begin_alike_stay_apart():
    names = [f"{'a' * 40}-{i}" for i in range(3)]
    drawn = trace(source_figure(mix_of(names, [0.2, 0.3, 0.5]), "light"), "GTP").y
    assert len(set(drawn)) == 3
    assert max(map(len, drawn)) < 40


def test_a_share_of_a_source_that_is_not_in_the_pool_is_a_number():
    mix = pl.DataFrame({"source": ["a"], "pool": [0.0], "gtp": [0.0]})
    assert "0.0 times" in source_figure(mix, "light").alt


def test_norms_are_drawn_as_counted(catalog):
    norms = norm_table(catalog, bins=10)
    picture = norm_figure(norms, "light")
    for checkpoint in catalog.store.checkpoints:
        rows = norms.filter(pl.col("checkpoint") == checkpoint.name)
        assert list(trace(picture, checkpoint.name).y) == rows["n"].to_list()
    assert picture.table.equals(norms)


def test_no_norms_is_a_figure(catalog):
    empty = norm_table(catalog).clear()
    assert norm_figure(empty, "light").alt.endswith("Gradient norms.")


def test_lengths_are_drawn_as_counted(catalog):
    lengths = length_table(catalog, bins=8)
    assert lengths["n"].sum() == catalog.valid().sum()
    picture = length_figure(lengths, -0.25, "light")
    (heat,) = picture.figure.data
    for row in lengths.to_dicts():
        i, j = list(heat.y).index(row["norm"]), list(heat.x).index(row["tokens"])
        assert math.expm1(heat.z[i][j]) == pytest.approx(row["n"], abs=1e-3)
    assert "weak" in picture.alt
    assert "-0.25" in picture.alt
    assert "clear" in length_figure(lengths, 0.5, "light").alt


# --- hostile names ---------------------------------------------------------------------------


def shown_texts(figure: go.Figure) -> str:
    """Everything plotly might interpret: titles, names, labels, hover templates."""
    document = json.loads(figure.to_json())
    document["layout"].pop("template", None)
    return json.dumps(document, ensure_ascii=False).replace("<extra></extra>", "")


@pytest.mark.parametrize("name", [*HOSTILE, *(f"{'x' * n}<b>&amp;</b>" for n in range(20, 32))])
def test_hostile_names_are_shown_and_not_interpreted(name):
    mix = mix_of([name, "plain"], [0.9, 0.1])
    matches = pl.DataFrame({"method": ["gtp"], "checkpoint": [name], "cosine": [0.5]})
    norms = pl.DataFrame({"checkpoint": [name] * 2, "norm": [1.0, 2.0], "n": [3, 4]})
    for picture in (
        source_figure(mix, "light"),
        checkpoint_figure(matches, "light"),
        norm_figure(norms, "light"),
    ):
        text = shown_texts(picture.figure)
        assert not re.search(r"<[A-Za-z/!]", text), text
        # An entity cut in the middle would be shown as letters.
        assert not re.search(r"&(?!(lt|gt|amp);)", text), text


def test_a_hover_template_never_holds_a_name():
    for picture in (
        source_figure(mix_of(["%{x}", "b"], [0.9, 0.1]), "light"),
        checkpoint_figure(
            pl.DataFrame({"method": ["gtp"], "checkpoint": ["%{y}"], "cosine": [0.5]}), "light"
        ),
    ):
        assert all("%{x}%{" not in (t.hovertemplate or "") for t in picture.figure.data)
        assert {t.hovertemplate for t in picture.figure.data} <= {"%{x:.1%}", "%{y:.3f}"}


# --- colours ---------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "normal": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "protanopia": [
        *(0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216),
        *(-0.003882, -0.048116, 1.051998),
    ],
    "deuteranopia": [
        *(0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413),
        *(-0.011820, 0.042940, 0.968881),
    ],
    "tritanopia": [
        *(1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602),
        *(0.004733, 0.691367, 0.303900),
    ],
}
CLASSES = ("gtp", "top-k", "both", "random")


def linear(hex_colour: str) -> np.ndarray:
    values = np.array([int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio."""
    bright = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
    to_xyz += [[0.0193339, 0.1191920, 0.9503041]]
    ratio = (np.array(to_xyz) @ np.clip(rgb, 0, 1)) / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one: np.ndarray, two: np.ndarray) -> float:
    """Colour difference (Sharma, Wu, Dalal 2005)."""
    mean_c = (math.hypot(*one[1:]) + math.hypot(*two[1:])) / 2
    g = 0.5 * (1 - math.sqrt(mean_c**7 / (mean_c**7 + 25**7)))
    (l1, a1, b1), (l2, a2, b2) = ((v[0], v[1] * (1 + g), v[2]) for v in (one, two))
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for b, a in ((b1, a1), (b2, a2)))
    turn = ((h2 - h1 + 180) % 360 - 180) if c1 * c2 else 0.0
    delta_h = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    t = 1 - 0.17 * math.cos(math.radians(hue - 30)) + 0.24 * math.cos(math.radians(2 * hue))
    t += 0.32 * math.cos(math.radians(3 * hue + 6)) - 0.20 * math.cos(math.radians(4 * hue - 63))
    s_l = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    bend = 60 * math.exp(-(((hue - 275) / 25) ** 2))
    r = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(bend))
    parts = ((l2 - l1) / s_l, (c2 - c1) / s_c, delta_h / s_h)
    return math.sqrt(sum(p * p for p in parts) + r * parts[1] * parts[2])


@pytest.mark.parametrize(
    ("one", "two", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_colour_difference_is_the_published_one(one, two, distance):
    assert ciede2000(np.array(one), np.array(two)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["gtp", "top-k", "ink", "both"])
def test_colours_can_be_read_on_their_paper(theme, name):
    assert contrast(colour(theme, name), colour(theme, "paper")) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_grey_marks_can_be_seen_on_their_paper(theme):
    assert contrast(colour(theme, "random"), colour(theme, "paper")) >= 3.0


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_classes_differ_for_every_sight(theme, sight):
    matrix = np.array(SIGHT[sight]).reshape(3, 3)
    seen = {n: lab(matrix @ linear(colour(theme, n))) for n in CLASSES}
    for a, b in itertools.combinations(CLASSES, 2):
        assert ciede2000(seen[a], seen[b]) >= (17 if "random" in (a, b) else 24), (a, b)


def test_both_themes_name_the_same_colours():
    assert set(COLOURS["light"]) == set(COLOURS["dark"])


@pytest.mark.parametrize("theme", THEMES)
def test_numbers_inside_bars_can_be_read(theme):
    picture = overlap_figure(overlap(np.arange(5), np.arange(3, 9)), theme)
    for bar in picture.figure.data:
        assert contrast(bar.textfont.color, bar.marker.color) >= 4.5, bar.name
