"""Promises of the figures of comparisons: the data drawn, their words, their size; no pixels."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gtp_core.atoms import pose
from gtp_core.figures import (
    CHECKPOINT_COLUMNS,
    COLOURS,
    by_checkpoint_figure,
    hero_figure,
    likeness_figure,
    ranks_figure,
    sources_figure,
    styles,
    upset_figure,
)
from gtp_core.methods import Settings, select
from gtp_core.report import (
    Gains,
    by_checkpoint,
    contestant,
    exclusive,
    gains,
    likeness_table,
    ranks,
    source_mix,
)

THEMES = ("light", "dark")
NAMES = ("GTP", "top-k", "random", "GTP at 4")
HOSTILE = "<b>x</b><script>alert(1)</script>"


@pytest.fixture(scope="module")
def problem(catalog):
    return pose(catalog, "maths", n_splits=0)


@pytest.fixture(scope="module")
def four(catalog, problem):
    wanted = (("gtp", 9), ("top-k", 9), ("random", 9), ("gtp", 4))
    return [
        contestant(
            catalog,
            problem,
            select(problem, budget, method=method, settings=Settings(ridge=0.01)),
            name=name,
        )
        for name, (method, budget) in zip(NAMES, wanted, strict=True)
    ]


@pytest.fixture(scope="module", params=THEMES)
def pictures(request, catalog, problem, four):
    """Every figure of the page, of two and of four selections."""
    theme, made = request.param, {}
    for few in (2, 4):
        some = four[:few]
        a, b = some[:2]
        styled = styles([one.name for one in some], [one.selection.method for one in some])
        alike = {one.name: (one.likeness.n_alike, len(one)) for one in some}
        mix = source_mix(catalog, {one.name: one.support for one in some})
        checkpoints = by_checkpoint(catalog, problem, some)
        pair = (a.name, b.name)
        made |= {
            f"hero {few}": hero_figure(gains(catalog, problem, a, b, given=a), pair, theme),
            f"upset {few}": upset_figure(exclusive(some), styled, theme),
            f"likeness {few}": likeness_figure(likeness_table(some), alike, styled, theme),
            f"sources {few}": sources_figure(mix, styled, theme),
            f"ranks {few}": ranks_figure(ranks(problem, a, b), pair, theme),
        }
        made |= {
            f"{column} {few}": by_checkpoint_figure(checkpoints, styled, theme, column=column)
            for column in CHECKPOINT_COLUMNS
        }
    return theme, made


def trace(picture, name):
    (found,) = (one for one in picture.figure.data if (one.name or "").startswith(name))
    return found


def test_every_picture_has_words_a_table_and_a_finding_as_title(pictures):
    theme, made = pictures
    for name, picture in made.items():
        assert picture.alt.endswith("."), name
        assert "nan" not in picture.alt
        title = picture.figure.layout.title.text
        assert title.rstrip(".") in picture.alt
        assert picture.table.height, name
        assert picture.figure.layout.font.color == COLOURS[theme]["ink"]
        assert json.loads(picture.figure.to_json())


def test_gtp_top_k_and_both_have_their_colours_and_symbols(pictures):
    theme, made = pictures
    hero = made["hero 2"]
    told = {"only GTP": "gtp", "only top-k": "top-k", "both": "both"}
    for name, shade in told.items():
        assert trace(hero, name).marker.color == COLOURS[theme][shade]
    assert [trace(hero, name).marker.symbol for name in told] == ["circle", "diamond", "square"]
    bars = made["residual_weighted 2"]
    assert trace(bars, "GTP").marker.color == COLOURS[theme]["gtp"]
    assert trace(bars, "top-k").marker.color == COLOURS[theme]["top-k"]


def test_styles_are_kept_by_method_whatever_the_order_and_never_shared():
    assert styles(["top-k", "GTP"], ["top-k", "gtp"]) == {"top-k": "top-k", "GTP": "gtp"}
    four = styles(["a", "b", "c", "d"], ["omp", "gtp", "gtp", "random"])
    assert four == {"a": "top-k", "b": "gtp", "c": "both", "d": "random"}
    assert len(set(styles(list("abcd"), ["craig"] * 4).values())) == 4


def test_the_hero_draws_the_points_and_counts_the_rest(catalog, problem, four):
    a, b = four[:2]
    found = gains(catalog, problem, a, b, given=a)
    picture = hero_figure(found, (a.name, b.name), "light")
    background, *points = picture.figure.data
    for one, kind in zip(points, ("a", "b", "both"), strict=True):
        rows = found.points.filter(pl.col("class") == kind)
        assert one.x == pytest.approx(rows["influence"].to_numpy(), abs=1e-6)
        assert one.y == pytest.approx(rows["gain"].to_numpy(), abs=1e-6)
        assert list(one.customdata) == rows["sample_id"].to_list()
        assert f"({found.counts[kind]})" in one.name
    assert background.z.dtype == np.uint8
    assert (background.z > 0).sum() == found.density.height
    for influence, gain, _ in found.density.rows():
        at = (np.abs(background.y - gain).argmin(), np.abs(background.x - influence).argmin())
        assert background.z[at] > 0
    assert f"only GTP: {found.medians['a']:.3%}" in picture.alt
    assert set(picture.table["class"]) <= {"only GTP", "only top-k", "both"}
    assert "conditional gain given GTP" in picture.figure.layout.yaxis.title.text


def big(n: int) -> Gains:
    generator = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "sample_id": [f"{HOSTILE}{i}" for i in range(n)],
            "class": ["a", "b"] * (n // 2),
            "influence": generator.standard_normal(n),
            "gain": generator.random(n),
        }
    )
    cells = (np.linspace(-4, 4, 160), np.linspace(0, 1, 60))
    up, across = np.meshgrid(cells[1], cells[0])
    density = pl.DataFrame(
        {"influence": across.ravel(), "gain": up.ravel(), "samples": np.arange(1, 9601)}
    )
    medians, counts = {"a": 0.5, "b": 0.1}, {"a": 9000, "b": 9000, "both": 0}
    return Gains(table, density, cells, medians, counts, "gain", "GTP")


def test_many_points_take_webgl_and_stay_small_and_few_do_not():
    many = hero_figure(big(5000), ("GTP", "top-k"), "light")
    assert {one.type for one in many.figure.data} == {"heatmap", "scattergl"}
    assert "5,000 of 18,000 picks are drawn" in many.alt
    background = many.figure.data[0]
    assert len(background.to_plotly_json()["z"].tobytes()) <= 130_000
    assert len(many.figure.to_json()) < 600_000
    few = hero_figure(big(900), ("GTP", "top-k"), "light")
    assert {one.type for one in few.figure.data} == {"heatmap", "scatter"}


def test_names_and_ids_are_harmless_to_plotly():
    text = hero_figure(big(10), (HOSTILE, "top-k"), "dark").figure.to_json()
    assert "<b>" not in text
    assert "<script" not in text
    styled = styles([HOSTILE, "GTP"], ["craig", "gtp"])
    table = pl.DataFrame({HOSTILE: [True, False], "GTP": [True, True], "samples": [3, 2]})
    for picture in (
        upset_figure(table, styled, "light"),
        sources_figure(
            pl.DataFrame({"source": [HOSTILE], "pool": [1.0], HOSTILE: [1.0], "GTP": [0.9]}),
            styled,
            "light",
        ),
    ):
        assert "<b>" not in picture.figure.to_json()


def test_the_proxy_is_named_when_it_stands_in():
    told = replace(big(10), measure="proxy")
    picture = hero_figure(told, ("GTP", "top-k"), "light")
    assert "proxy" in picture.figure.layout.yaxis.title.text
    assert "Median proxy of a pick" in picture.alt


def test_upset_bars_are_the_counts_over_dots_of_their_members(four):
    table = exclusive(four)
    styled = styles(NAMES, ["gtp", "top-k", "random", "gtp"])
    bars, empty, full = upset_figure(table, styled, "light").figure.data
    assert list(bars.y) == table["samples"].to_list()
    assert len(empty.x) + len(full.x) == 4 * table.height
    dots = set(zip(map(int, full.x), map(int, full.y), strict=True))
    for column, row in enumerate(table.rows()):
        assert {y for x, y in dots if x == column} == {i for i in range(4) if row[i]}
    ticks = upset_figure(table, styled, "light").figure.layout.yaxis2.ticktext
    assert list(ticks) == list(NAMES)


def test_likeness_is_drawn_to_its_end_and_told(four):
    table = likeness_table(four[:2])
    styled = styles(NAMES[:2], ["gtp", "top-k"])
    alike = {"GTP": (1, 9), "top-k": (4, 9)}
    picture = likeness_figure(table, alike, styled, "light")
    for one in picture.figure.data:
        assert list(one.y[:-1]) == pytest.approx(table[one.name].to_list())
        assert one.x[-1] == 1.0
    assert picture.figure.layout.title.text == "At least 95 % alike: GTP 1 of 9, top-k 4 of 9"


def test_sources_are_drawn_as_distance_from_the_pool(catalog, four):
    mix = source_mix(catalog, {one.name: one.support for one in four[:2]})
    picture = sources_figure(mix, styles(NAMES[:2], ["gtp", "top-k"]), "light")
    shown = mix.reverse()
    for one in picture.figure.data:
        assert list(one.x) == pytest.approx((shown[one.name] - shown["pool"]).to_list())
    apart = {
        (name, row["source"]): row[name] - row["pool"]
        for row in mix.to_dicts()
        for name in NAMES[:2]
    }
    most = max(apart.values(), key=abs)
    title = picture.figure.layout.title.text
    assert f"{100 * abs(most):.1f} points" in title
    assert ("above" if most > 0 else "below") in title


@pytest.mark.parametrize("column", CHECKPOINT_COLUMNS)
def test_bars_by_checkpoint_are_the_table_and_the_title_its_worst(catalog, problem, four, column):
    table = by_checkpoint(catalog, problem, four[:2])
    styled = styles(NAMES[:2], ["gtp", "top-k"])
    picture = by_checkpoint_figure(table, styled, "light", column=column)
    for one in picture.figure.data:
        assert list(one.y) == table.filter(pl.col("selection") == one.name)[column].to_list()
    mine = table.filter(pl.col("selection") == "GTP")[column]
    worst = mine.min() if column == "cosine" else mine.max()
    assert f"({worst:.2f})" in picture.figure.layout.title.text


def test_ranks_are_shaded_where_the_table_has_samples(problem, four):
    found = ranks(problem, four[0], four[1])
    picture = ranks_figure(found, ("GTP", "top-k"), "light")
    (heat,) = picture.figure.data
    assert heat.z.dtype == np.uint8
    assert (heat.z > 0).sum() == found.cells.height
    assert len(heat.x) == len(heat.y) == len(heat.z) + 1
    edges = found.edges.tolist()
    for a, b, _ in found.cells.rows():
        assert heat.z[edges.index(b), edges.index(a)] > 0
    assert f"{found.correlation:+.2f}" in picture.alt


@pytest.mark.parametrize(
    ("correlation", "words"),
    [(0.9, "much alike"), (0.5, "somewhat"), (0.0, "unrelated"), (-0.8, "opposite")],
)
def test_the_words_follow_the_correlation(problem, four, correlation, words):
    found = replace(ranks(problem, four[0], four[1]), correlation=correlation)
    assert words in ranks_figure(found, ("GTP", "top-k"), "dark").figure.layout.title.text
