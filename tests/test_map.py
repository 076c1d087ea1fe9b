"""Promises of the map: the same by seed, only geometry travels, and what is special is told."""

import json
import math

import numpy as np
import polars as pl
import pytest

from gtp_core.cli import main
from gtp_core.errors import CatalogError
from gtp_core.figures.map import map_figure, topic_labels
from gtp_core.neighbors import (
    Map,
    columns,
    corners_of,
    density,
    inside,
    link_by,
    map_sources,
    panels_of,
    place_examples,
    prepare_map,
    read_region,
    region_counts,
    region_texts,
    saved_map,
    special,
    spell_region,
    task_cosines,
    topics_covered,
)
from gtp_core.neighbors.graph import build_graph
from gtp_core.neighbors.layout import lay_out_points
from gtp_core.neighbors.text import text_sketches
from gtp_core.neighbors.topics import find_topics, topic_words


def blobs(n=90, groups=3, dim=16, seed=0):
    """Unit rows around a few centres, and which centre each is of."""
    generator = np.random.default_rng(seed)
    centre = 3 * np.eye(dim)[:groups]
    label = np.arange(n) % groups
    rows = centre[label] + 0.3 * generator.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), label


def square(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def drawn(xy, topic=None, names=("a", "b")):
    xy = np.asarray(xy, np.float32)
    return Map("trajectory", xy, np.zeros(len(xy), int) if topic is None else topic, names)


# --- the layout ------------------------------------------------------------------------------


def test_what_is_alike_lies_together_and_the_same_seed_gives_the_same_map():
    rows, label = blobs()
    graph = build_graph(rows, np.ones(90, bool))
    xy = lay_out_points(rows, graph, 0)
    assert xy.shape == (90, 2)
    assert ((xy >= 0) & (xy <= 1)).all()
    far = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert (label[far.argmin(axis=1)] == label).mean() > 0.95
    assert (lay_out_points(rows, graph, 0) == xy).all()
    assert (lay_out_points(rows, graph, 1) != xy).any()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_hardly_any_points_are_laid_out_too(n):
    rows = np.eye(4, dtype=np.float32)[:n]
    xy = lay_out_points(rows, build_graph(rows, np.ones(n, bool)), 0)
    assert xy.shape == (n, 2)
    assert np.isfinite(xy).all()


def test_a_map_of_a_store_is_kept_and_copies_lie_in_one_place(own_catalog, says):
    assert saved_map(own_catalog) is None
    found = prepare_map(own_catalog)
    again = saved_map(own_catalog)
    assert np.array_equal(again.xy, found.xy, equal_nan=True)
    assert (again.topic == found.topic).all()
    assert np.isnan(found.xy[[7, 20, 33]]).all()
    assert (found.xy[45] == found.xy[5]).all()
    assert len(found.names) == found.topic.max() + 1
    sources = map_sources(own_catalog)
    assert sources == ["trajectory", "step-0", "step-10", "step-20", "text"]
    with pytest.raises(CatalogError) as caught:
        prepare_map(own_catalog, "moon")
    says(caught.value, "moon", "trajectory", "text")


def test_a_checkpoint_and_the_texts_have_maps_of_their_own(own_catalog, capsys):
    store = str(own_catalog.store.folder)
    command = ["neighbors", store, "--map", "step-10", "--map", "text", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["maps"] == ["step-10", "text"]
    one, text = saved_map(own_catalog, "step-10"), saved_map(own_catalog, "text")
    assert not np.array_equal(one.xy, text.xy, equal_nan=True)
    assert saved_map(own_catalog) is None
    assert main(["neighbors", store, "--map", "moon"]) == 2


def test_texts_with_the_same_words_have_the_same_sketch(own_catalog):
    found = text_sketches(own_catalog)
    assert found.shape == (60, 256)
    lengths = np.linalg.norm(found, axis=1)
    assert np.allclose(lengths[lengths > 0], 1, atol=1e-5)


# --- topics ----------------------------------------------------------------------------------


def test_topics_are_the_groups_that_were_planted_the_largest_first():
    rows, label = blobs(95)
    usable = np.ones(95, bool)
    usable[4] = False
    topic = find_topics(rows, usable, count=3)
    assert topic[4] == -1
    sizes = np.bincount(topic[usable])
    assert (np.diff(sizes) <= 0).all()
    for number in range(3):
        assert len(set(label[topic == number])) == 1
    assert (find_topics(rows, usable, count=3) == topic).all()
    assert (find_topics(rows, np.zeros(95, bool)) == -1).all()


def test_topics_are_named_by_words_of_their_own(own_catalog):
    topic = np.arange(60) % 2
    names = topic_words(own_catalog, topic)
    assert len(set(names)) == 2
    assert all("wieviel" in name or "ist" in name for name in names)
    assert topic_words(own_catalog, np.full(60, -1)) == []


# --- regions ---------------------------------------------------------------------------------


def test_points_in_a_polygon_by_the_even_odd_rule():
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41)), -1).reshape(-1, 2)
    grid[3] = np.nan
    found = drawn(grid)
    star = [
        (0.5 + 0.4 * math.sin(t), 0.5 + 0.4 * math.cos(t)) for t in np.arange(5) * 4.0 * np.pi / 5
    ]
    rows = inside(found, np.array(star))
    middle = inside(found, square(0.48, 0.48, 0.52, 0.52))
    assert len(rows)
    assert not set(middle) & set(rows), "the middle of a star is crossed twice"
    box = inside(found, square(0.21, 0.31, 0.59, 0.49))
    wanted = (grid[:, 0] > 0.21) & (grid[:, 0] < 0.59) & (grid[:, 1] > 0.31) & (grid[:, 1] < 0.49)
    assert box.tolist() == np.flatnonzero(wanted).tolist()
    assert len(inside(found, np.array([[0, 0], [1, 1]]))) == 0


def test_a_region_is_spelled_short_and_read_back():
    circle = [(0.5 + 0.3 * math.cos(t), 0.5 + 0.3 * math.sin(t)) for t in np.linspace(0, 6.2, 500)]
    text = spell_region(np.array(circle))
    assert len(text) < 500
    read = read_region(text)
    assert 3 <= len(read) <= 60
    assert np.abs(np.linalg.norm(read - 0.5, axis=1) - 0.3).max() < 0.002


@pytest.mark.parametrize("text", ["", "x", "1.2", "1.2_3.4", "1.2.3_4.5_6.7", "1_2_3", "9" * 5000])
def test_what_is_no_region_is_none(text):
    assert read_region(text) is None


def test_a_lasso_or_a_box_becomes_corners_and_nothing_else():
    lasso = {"lasso": [{"x": [0, 1, 0.5], "y": [0, 0, 1]}], "box": []}
    assert corners_of(lasso) == "0.0_999.0_500.999"
    box = {"box": [{"x": [0.2, 0.4], "y": [0.9, 0.1]}], "lasso": []}
    assert read_region(corners_of(box)).shape == (4, 2)
    assert corners_of({"box": [], "lasso": []}) == ""


def test_what_is_special_about_a_region_comes_first():
    table = pl.DataFrame(
        {
            "source": ["a", "b"] * 50,
            "tokens": [*range(50), *range(1000, 1050)],
            "flat": [1.0] * 100,
        }
    )
    found = special(table, np.arange(50, 100))
    assert found["column"].to_list() == ["tokens", "source", "flat"]
    assert found["distance"][0] > 0.4
    assert found["distance"][2] == pytest.approx(0, abs=1e-6)
    assert "1.02e+03 here" in found["sentence"][0]
    sources = special(table, np.arange(0, 100, 2))
    assert sources["column"][0] == "source"
    assert "source a: 100% here, 50% of the pool" in sources["sentence"][0]


def test_a_region_counts_and_shows_its_samples(own_catalog):
    xy = np.full((60, 2), 0.9)
    xy[:30] = 0.1
    found = drawn(xy)
    rows = inside(found, square(0, 0, 0.5, 0.5))
    counts = region_counts(found, rows, {"GTP": np.array([1, 2, 40])})
    assert counts.rows() == [("pool", 30, 1.0, 0.5), ("GTP", 2, 2 / 30, 2 / 3)]
    weights = np.zeros(60)
    weights[[1, 2, 40]] = 1, 3, 9
    texts = region_texts(own_catalog, rows, weights)
    assert texts["sample_id"].to_list()[:2] == ["id-0002", "id-0001"]
    assert texts["why"].to_list() == ["weight"] * 2 + ["drawn"] * 10
    assert len(set(texts["sample_id"])) == 12
    table = columns(own_catalog, found, own_catalog.influence("maths"))
    assert special(table, rows).height == 5


def test_examples_lie_amid_the_samples_most_like_them(own_catalog):
    cosines = task_cosines(own_catalog, "maths")
    assert cosines.shape == (60, 8)
    xy = np.stack([np.arange(60) / 60, np.zeros(60)], axis=1)
    xy[0] = np.nan
    placed = place_examples(drawn(xy), np.eye(60)[:, :3], near=1)
    assert placed[1:, 0].tolist() == pytest.approx([1 / 60, 2 / 60])
    assert np.isnan(place_examples(drawn(np.full((4, 2), np.nan)), np.eye(4))).all()


# --- the figure ------------------------------------------------------------------------------


def test_only_corners_travel_because_nothing_on_the_map_can_be_selected():
    generator = np.random.default_rng(0)
    found = drawn(generator.random((200_000, 2)), generator.integers(0, 2, 200_000))
    support = np.arange(3000)
    panels = panels_of(support, support[1000:] + 5, together=False)
    finding = topics_covered(found, {"GTP": support})
    assert finding == "GTP takes 3,000 samples of 2 topics, of 2"
    labels = topic_labels(found.xy, found.topic, ("one <b>", "two"))
    picture = map_figure(density(found), finding, found.xy, panels, labels, "light")
    lines = [trace for trace in picture.figure.data if trace.type == "scatter"]
    markers = [trace for trace in lines if "markers" in trace.mode]
    assert [len(t.x) for t in markers] == [1, 1]
    assert all(t.x[0] < 0 for t in markers)
    assert len(picture.figure.to_json()) < 1_000_000
    assert "200,000 samples" in picture.alt
    assert all("<b>" not in note.text for note in picture.figure.layout.annotations)
    shapes = [trace for trace in lines if trace.name == "GTP"]
    assert np.isnan(shapes[0].x).sum() == len(panels["GTP"]["gtp"])


def test_the_density_counts_everybody_once():
    found = drawn([[0.1, 0.1], [0.1, 0.1], [0.9, 0.2], [np.nan, np.nan]])
    grid = density(found)
    assert grid.dtype == np.uint8
    assert (grid > 0).sum() == 2
    row, column = np.unravel_index(grid.argmax(), grid.shape)
    assert (row, column) == (15, 15)
    assert grid.max() == 255


def test_one_panel_has_four_classes_and_a_region_is_drawn():
    found = drawn(np.random.default_rng(0).random((50, 2)))
    panels = panels_of(np.array([1, 2]), np.array([2, 3]), together=True)
    assert {k: v.tolist() for k, v in panels["GTP and top-k"].items()} == {
        "gtp": [1],
        "top-k": [3],
        "both": [2],
    }
    labels = topic_labels(found.xy, found.topic, found.names)
    picture = map_figure(
        density(found),
        "x",
        found.xy,
        panels,
        labels,
        "dark",
        examples=found.xy[:4],
        region=square(0, 0, 1, 1),
    )
    assert len(picture.figure.layout.shapes) == 1
    assert {"validation examples", "both"} <= {t.name for t in picture.figure.data}
    assert picture.table["samples"].to_list() == [1, 1, 1]


def test_a_tag_is_a_filter_that_a_link_carries():
    assert link_by("tag", "a b&c") == "t=a+b%26c"
