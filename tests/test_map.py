"""Promises of the map: the same by seed, only geometry travels, and what is special is told."""

import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.cli import main
from gtp_core.errors import CatalogError
from gtp_core.figures.map import MOST_POINTS, map_figure, topic_labels
from gtp_core.methods import select
from gtp_core.neighbors import (
    Map,
    columns,
    density,
    inside,
    link_by,
    map_sources,
    panels_of,
    place_examples,
    prepare_map,
    read_region,
    region_counts,
    region_of,
    region_texts,
    rows_of_topic,
    saved_map,
    saved_neighbors,
    special,
    spell_region,
    task_cosines,
    topic_name,
    topics_covered,
)
from gtp_core.neighbors.graph import build_graph
from gtp_core.neighbors.layout import lay_out_points
from gtp_core.neighbors.sketch import sketch, width_for
from gtp_core.neighbors.text import text_sketches
from gtp_core.neighbors.topics import find_topics, topic_words
from gtp_core.report import verdict_table
from gtp_core.report.points import point_words, some_verdicts
from gtp_core.trajectories import open_trajectories


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
    told: list[tuple[int, int]] = []
    again = lay_out_points(rows, graph, 0, lambda done, total, what: told.append((done, total)))
    assert (again == xy).all()
    assert told[0] == (0, 500)
    assert told == sorted(told)
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
    assert len(text) == 4 * 32
    read = read_region(text)
    assert read.shape == (32, 2)
    assert np.abs(np.linalg.norm(read - 0.5, axis=1) - 0.3).max() < 0.001
    one, other = read - 0.5, np.roll(read, -1, axis=0) - 0.5
    enclosed = np.abs((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / 2
    assert enclosed == pytest.approx(math.pi * 0.09, rel=0.02)
    corners = square(0.25, 0.1, 0.75, 0.9)
    assert np.allclose(read_region(spell_region(corners)), corners, atol=1 / 4000)
    assert read_region(spell_region(square(-3, -3, 4, 4))).min() == 0


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "AAAAAAAA", "AAAABBBBCCC", "AAAABBBB CCC", "\u00e9" * 12, "A" * 5000]
)
def test_what_is_no_region_is_none(text):
    assert read_region(text) is None
    assert len(inside(drawn([[0.5, 0.5]]), read_region(text))) == 0


def test_a_region_says_on_which_map_it_lies():
    polygon, source = region_of("AAAA__AA____:step-10")
    assert (polygon.shape, source) == ((3, 2), "step-10")
    assert region_of("") == (None, "")


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


def test_200_000_samples_are_a_figure_of_less_than_a_megabyte():
    generator = np.random.default_rng(0)
    found = drawn(generator.random((200_000, 2)), generator.integers(0, 2, 200_000))
    support = np.arange(8000)
    panels = panels_of(support, support[4000:] + 3500, together=False)
    finding = topics_covered(found, {"GTP": support})
    assert finding == "GTP takes 8,000 samples of 2 topics, of 2"
    labels = topic_labels(found.xy, found.topic, ("one <b>", "two"))
    said = {row: f"sample-{row:06d}\nchosen\n{'<a> ' * 20}" for row in range(0, 10_000, 8)}
    said |= {row: f"sample-{row:06d}\nchosen" for row in range(10_000) if row % 8}
    picture = map_figure(density(found), finding, found.xy, panels, labels, "light", words=said)
    assert len(picture.figure.to_json()) < 1_000_000
    assert "200,000 samples" in picture.alt
    assert all("<b>" not in note.text for note in picture.figure.layout.annotations[2:])
    points = [trace for trace in picture.figure.data if trace.name == "GTP"]
    assert len(points[0].x) == MOST_POINTS < len(panels["GTP"]["gtp"])
    assert points[0].customdata[0].startswith("sample-000000<br>chosen<br>&lt;a&gt;")
    assert "sample" not in points[0].hovertemplate


def test_what_is_said_of_a_point_is_its_verdict_and_how_its_text_begins(own_catalog):
    problem = pose(own_catalog, "maths")
    chosen = select(problem, 6)
    table = verdict_table(own_catalog, problem, chosen)
    rows = np.setdiff1d(np.arange(60), [3])
    assert some_verdicts(own_catalog, problem, chosen, rows).tolist() == (
        table["verdict"].gather(rows).to_list()
    )
    said = point_words(own_catalog, problem, chosen, [chosen.support, np.arange(5)])
    assert set(said) == {*chosen.support.tolist(), *range(5)}
    for row, text in said.items():
        name, verdict, words = text.split("\n")
        assert (name, verdict) == table.row(row)[:2]
        assert 0 < len(words) <= 80


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
    names = {trace.name for trace in picture.figure.data}
    assert names == {None, "neither (density)", "GTP", "top-k", "both", "validation examples"}
    assert picture.table["samples"].to_list() == [1, 1, 1]


def test_points_of_a_region_are_drawn_in_both_panels_and_weigh_little():
    found = drawn(np.random.default_rng(0).random((30_000, 2)))
    panels = panels_of(np.array([1, 2]), np.array([2, 3]), together=False)
    labels = topic_labels(found.xy, found.topic, found.names)
    rows = np.arange(20_000)
    picture = map_figure(density(found), "x", found.xy, panels, labels, "dark", raw=rows)
    drawn_all = [trace for trace in picture.figure.data if trace.name == "samples of the region"]
    assert [(len(trace.x), trace.hoverinfo) for trace in drawn_all] == [(20_000, "skip")] * 2
    order = [trace.type for trace in picture.figure.data if trace.name == "GTP"]
    assert order == ["scattergl"], "WebGL would hide what SVG draws"
    assert len(picture.figure.to_json()) < 1_000_000


def test_who_does_not_count_is_missing_from_the_density():
    found = drawn([[0.1, 0.1], [0.5, 0.5], [0.9, 0.2], [np.nan, np.nan]])
    assert (density(found, [np.array([1]), np.array([2, 3])]) > 0).sum() == 1


def test_a_topic_is_found_by_its_number():
    found = drawn(np.full((4, 2), 0.5), np.array([0, 1, 1, -1]))
    assert rows_of_topic(found, "1").tolist() == [1, 2]
    assert topic_name(found, "1") == "b"
    for number in ("2", "-1", "", "x", "9" * 50):
        assert len(rows_of_topic(found, number)) == 0
        assert "no topic" in topic_name(found, number)


def test_a_tag_is_a_filter_that_a_link_carries():
    assert link_by("tag", "a b&c") == "t=a+b%26c"


# --- the bundled demo ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The bundled demo as a new visitor finds it: with an empty workspace."""
    workspace = tmp_path_factory.mktemp("demo")
    folder = Path(__file__).parent.parent / "data" / "demo"
    with closing(open_catalog(folder, workspace=workspace)) as catalog:
        yield catalog


def test_the_shipped_graph_and_topics_are_what_the_code_makes(demo):
    """As sets: sums differ in their last bits between machines, and with them who is fifteenth."""
    known, found = saved_neighbors(demo), saved_map(demo)
    assert known is not None, "the manifest's digest or a setting changed; build the demo's again"
    assert found is not None
    assert known.folder.parent.parent.name == "demo"
    trajectories = open_trajectories(demo.store)
    width = width_for(trajectories.n_samples, trajectories.dim)
    sketches, _ = sketch(trajectories, None, width=width)
    graph = build_graph(sketches, demo.valid())
    assert (graph.copies == known.graph.copies).mean() > 0.999
    rows = np.arange(len(graph.points))[:, None] * 10_000
    one, other = rows + graph.neighbours, rows + known.graph.neighbours
    assert np.isin(one, other).mean() >= 0.99
    topic = find_topics(sketches, demo.valid())
    assert (topic == found.topic).mean() >= 0.99
    shared = set(topic_words(demo, topic)) & set(found.names)
    assert len(shared) >= 0.9 * len(found.names)


def test_on_the_shipped_map_near_is_near_in_the_graph_too(demo):
    """UMAP makes last bits large, so the map is not compared with another but with the graph."""
    graph, xy = saved_neighbors(demo).graph, saved_map(demo).xy[saved_neighbors(demo).graph.points]
    assert ((xy >= 0) & (xy <= 1)).all()
    near = np.linalg.norm(xy[:, None] - xy[graph.neighbours], axis=2).mean()
    drawn_at_random = np.random.default_rng(0).permutation(len(xy))
    far = np.linalg.norm(xy - xy[drawn_at_random], axis=1).mean()
    assert near < 0.25 * far
