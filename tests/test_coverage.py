"""Promises of coverage: rates against the pool, examples by how well they are served."""

import json
from contextlib import closing

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import build_store, sample_table

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.errors import CatalogError, TaskError
from gtp_core.figures.coverage import (
    served_figure,
    source_topic_axes,
    source_topics_figure,
    topics_figure,
    values_figure,
)
from gtp_core.methods import select
from gtp_core.report.coverage import (
    served,
    served_sentence,
    source_topics,
    topic_shares,
)
from gtp_core.report.values import (
    is_log,
    measured,
    measures,
    middle_values,
    read_range,
    rows_between,
    spell_range,
    value_shares,
)
from gtp_core.trajectories import open_task, open_trajectories

NAMES = ("first <i>", "second", "third")


@pytest.fixture
def problem(catalog):
    return pose(catalog, "maths", n_splits=0)


def test_a_rate_is_the_share_taken_over_the_share_of_the_pool():
    topic = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 2)
    shares = topic_shares(topic, NAMES, {"GTP": np.array([0, 1, 9, 10])})
    assert shares["pool"].to_list() == [6, 3, 1]
    assert shares["GTP"].to_list() == pytest.approx([0.5 / 0.6, 0, 0.25 / 0.1])
    picture = topics_figure(shares, "light", selection="GTP")
    assert "nothing of 1 of 3 topics" in picture.alt
    assert picture.figure.data[0].labels[0] == "first &lt;i&gt;"
    assert picture.figure.data[0].values == (6, 3, 1, 10)
    assert picture.figure.data[0].parents == ("all", "all", "all", "")


def test_every_source_and_topic_that_meet_are_counted(catalog):
    topic = np.arange(60) % 3
    topic[5] = -1
    met = source_topics(catalog, topic, NAMES, np.array([0, 1, 2, 4]))
    assert met["pool"].sum() == 59
    assert met["chosen"].sum() == 4
    picture = source_topics_figure(met, "dark")
    grid = picture.figure.data[0].z
    assert grid.shape == (3, 3)
    assert "sources and topics meet" in picture.alt


@pytest.mark.parametrize("direction", ["kept", "removed"])
def test_examples_are_served_as_brute_force_says(catalog, direction):
    problem = pose(catalog, "maths", common_direction=direction, n_splits=0)
    chosen = select(problem, 6)
    table = served(catalog, problem, {"GTP": chosen})
    assert table["GTP"].to_list() == sorted(table["GTP"])
    atoms = problem.atoms.rows(chosen.support).astype(np.float64)
    combined = chosen.weights @ atoms
    examples = open_task(catalog.store, "maths").rows
    if direction == "removed":
        m = catalog.common_direction()
        pieces = examples.reshape(len(examples), *m.shape)
        along = np.einsum("ntd,td->nt", pieces, m)
        free = (pieces - along[:, :, None] * m).reshape(len(examples), -1)
    else:
        free = examples
    wanted = free @ combined / np.linalg.norm(free, axis=1) / np.linalg.norm(combined)
    ids = catalog.store.examples("maths")["example_id"].to_list()
    by_id = dict(zip(ids, wanted, strict=True))
    for name, cosine in table.select("example_id", "GTP").rows():
        assert cosine == pytest.approx(by_id[name], abs=1e-6)
    valid = catalog.valid()
    pool = open_trajectories(catalog.store).rows(np.flatnonzero(valid)).astype(np.float64)
    cosines = pool @ examples.T / np.linalg.norm(examples, axis=1)
    best = dict(zip(ids, cosines.max(axis=0), strict=True))
    for name, value in table.select("example_id", "best").rows():
        assert value == pytest.approx(best[name], abs=1e-3)
    assert (table["weak"] == (table["best"] < 0.1)).all()


def test_the_sentence_and_the_figure_count_the_same(catalog, problem):
    table = pl.DataFrame(
        {
            "example_id": ["a", "b", "c"],
            "GTP": [-0.2, 0.1, 0.3],
            "top-k": [0.1, 0.2, -0.3],
            "best": [0.05, 0.4, 0.5],
            "weak": [True, False, False],
        }
    )
    text = served_sentence(table, "GTP")
    assert "towards 2 of 3" in text
    assert "For 1 of them the pool has no sample" in text
    assert "collect" not in served_sentence(table.with_columns(weak=False), "GTP")
    picture = served_figure(table, "light", names=["GTP", "top-k"])
    assert "away from 1 of 3" in picture.alt
    assert [trace.name for trace in picture.figure.data][:2] == ["GTP", "top-k"]


def test_what_has_no_list_of_examples_is_refused(catalog, says):
    problem = pose(catalog, "maths,dates", n_splits=0)
    with pytest.raises(TaskError) as caught:
        served(catalog, problem, {"GTP": select(problem, 3)})
    says(caught.value, "maths,dates")


def test_a_cell_of_the_heatmap_is_where_its_source_and_topic_are(catalog):
    topic = np.arange(60) % 3
    topic[5] = -1
    met = source_topics(catalog, topic, NAMES, np.array([0, 1, 2, 4]))
    sources, topics = source_topic_axes(met)
    grid = source_topics_figure(met, "light").figure.data[0].z
    for source, name, pool, chosen in met.rows():
        assert grid[sources.index(source), topics.index(name)] == pytest.approx(chosen / pool)


def test_sources_that_are_not_drawn_are_told_and_counted():
    met = pl.DataFrame(
        {
            "source": [f"s{i:02d}" for i in range(25)],
            "topic": ["maths"] * 25,
            "pool": range(50, 25, -1),
            "chosen": [1] * 20 + [0] * 5,
        }
    )
    picture = source_topics_figure(met, "light")
    assert len(picture.figure.data[0].z) == 20
    assert "where 5 of 25 sources and topics meet (20 of 25 sources drawn)" in picture.alt
    assert picture.table.height == 25
    assert "drawn" not in source_topics_figure(met.head(20), "light").alt


@pytest.mark.parametrize("name", ["length", "influence", "norm"])
def test_a_measure_is_held_against_the_pool_and_its_bins_hold_everybody(catalog, problem, name):
    values = measured(catalog, problem, name)
    supports = {"GTP": np.array([1, 2, 3])}
    shares = value_shares(values, supports)
    known = int(np.isfinite(values).sum())
    assert shares["pool"].sum() == pytest.approx(known / 60)
    assert shares["GTP"].sum() == pytest.approx(1)
    seen: list[int] = []
    for place in range(shares.height):
        told, low, high = read_range(spell_range(name, shares, place))
        rows = rows_between(values, low, high)
        assert told == name
        assert len(rows) == pytest.approx(60 * shares["pool"][place])
        seen += rows.tolist()
    assert sorted(seen) == np.flatnonzero(np.isfinite(values)).tolist()
    middles = middle_values(values, supports)
    assert middles["GTP"] == pytest.approx(np.median(values[[1, 2, 3]]))
    picture = values_figure(shares, middles, "dark", name=name, log=is_log(values))
    assert f"Median {name}" in picture.alt
    assert [trace.name for trace in picture.figure.data] == ["pool", "GTP"]


def test_numbers_in_the_records_are_measures_and_ids_and_texts_are_none(tmp_path):
    def with_records(rows):
        lines = [
            json.dumps({"n": 1, "id": row, "quality": row / 2, "is_good": True, "text": "5"})
            for row in rows
        ]
        lines = [line if row % 7 else "{" for row, line in zip(rows, lines, strict=True)]
        return sample_table(rows).with_columns(record=pl.Series(lines, dtype=pl.String))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", with_records)
        store = build_store(tmp_path / "store")
    with closing(open_catalog(store, workspace=tmp_path / "work")) as catalog:
        assert list(measures(catalog)) == ["record.quality", "record.n", "influence", "norm"]
        problem = pose(catalog, "maths", n_splits=0)
        values = measured(catalog, problem, "record.quality")
        wanted = [row / 2 if row % 7 else float("nan") for row in range(60)]
        assert np.array_equal(values, wanted, equal_nan=True)


def test_without_numbers_in_the_records_there_is_what_the_gradients_say(catalog, problem, says):
    assert list(measures(catalog)) == ["influence", "norm"]
    for name in ("moon", "record.$..a", "record.", ""):
        with pytest.raises(CatalogError) as caught:
            measured(catalog, problem, name)
        says(caught.value, "length", "record.NAME")
    for text in ("length", "length:1", "length:a:b"):
        with pytest.raises(CatalogError, match="no range"):
            read_range(text)


@pytest.mark.parametrize("values", [[], [3.0] * 60, [float("nan")] * 60, [-5.0, 5.0] * 30])
def test_measures_of_one_value_or_none_are_shares_too(values):
    rows = np.array(values)
    shares = value_shares(rows, {"GTP": np.arange(len(rows))[:2]})
    assert shares.height >= 1
    found = sum(
        len(rows_between(rows, *read_range(spell_range("length", shares, place))[1:]))
        for place in range(shares.height)
    )
    assert found == np.isfinite(rows).sum()
