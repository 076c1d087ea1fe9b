"""Promises of the trial of all methods: what is trained and asked, kept once, and told."""

import json
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_verify import model_folder, store, sums, write_lines  # noqa: F401  fixtures

from benchmarks.selection_quality import command
from benchmarks.selection_quality.drawing import picture
from benchmarks.selection_quality.grounds import IN_DOMAIN, Ground, demo_ground
from benchmarks.selection_quality.results import (
    against,
    correlated,
    gathered,
    interval,
    reaches_full,
)
from benchmarks.selection_quality.tables import printed
from benchmarks.selection_quality.trainings import Bench, Cell, cells
from benchmarks.selection_quality.ways import COUNTERPART, FULL, MAIN, choice, count_of
from gtp_core import open_catalog
from gtp_core.atoms import POOL
from gtp_core.collect.pool import read_records

FAST = {"epochs": 2, "batch_size": 4, "learning_rate": 3e-2, "points": 1, "dtype": "fp32"}
FAST |= {"threads": 1, "max_new_tokens": 0}


@pytest.fixture(scope="module")
def ground(store, model_folder, tmp_path_factory):  # noqa: F811
    """A tiny store of 24 samples with a task and the pool's own mean to aim at."""
    folder = tmp_path_factory.mktemp("ground")
    path = write_lines(folder / "asked.jsonl", sums(70, 6, "sums"))
    records = tuple(read_records(path))
    catalog = open_catalog(store, workspace=folder / "workspace")
    yield Ground(
        name="tiny",
        catalog=catalog,
        model=model_folder,
        aims={"sums": "sums", IN_DOMAIN: POOL},
        tests={t: tuple(replace(r, subtask=t) for r in records) for t in ("sums", IN_DOMAIN)},
        counterparts={"sums": np.arange(24) < 10},
        planted={"duplicates": np.arange(24) % 2 == 0},
        training=FAST,
    )
    catalog.close()


@pytest.fixture(scope="module")
def work(ground, tmp_path_factory):
    """A trial that is done: four ways, two budgets, two seeds, and the whole pool."""
    folder = tmp_path_factory.mktemp("work")
    bench = Bench(ground, folder)
    bench.base()
    ways = ("gtp", "top-k", "random", COUNTERPART, "craig")
    for cell in cells(["sums", IN_DOMAIN], ways, [20, 50], 2):
        bench.cell(cell)
    for seed in (0, 1):
        bench.full(seed)
    return folder


def test_small_budgets_come_first_seed_by_seed():
    found = list(cells(["a", "b"], ["gtp"], [0.5, 10, 5], 2))
    order = [(0.5, 0), (5, 0), (0.5, 1), (5, 1), (10, 0), (10, 1)]
    assert [(c.share, c.seed) for c in found[::2]] == order
    assert Cell("a", "random", 5, 1).choice != Cell("a", "random", 5, 0).choice
    assert Cell("a", "gtp", 5, 1).choice == Cell("a", "gtp", 5, 0).choice


@pytest.mark.parametrize("name", MAIN)
def test_every_way_chooses_and_its_numbers_are_of_what_is_trained(ground, name):
    found = choice(ground, "sums", name, 25, 3)
    rows = np.array(found["rows"])
    assert 0 < len(rows) <= count_of(ground, 25) == 6
    assert (np.diff(rows) > 0).all()
    assert np.mean(found["weights"]) == pytest.approx(1, abs=1e-5)
    assert 0 <= found["residual_weighted"] <= 1 + 1e-9
    assert -1 <= found["match"] <= 1
    assert found["planted"] == {"duplicates": np.mean(rows % 2 == 0)}
    assert found["precision"] == np.mean(rows < 10)
    if not MAIN[name].weighted:
        assert set(found["weights"]) == {1.0}
    if name == COUNTERPART:
        assert found["precision"] == 1
        assert choice(ground, "sums", name, 25, 4)["rows"] != found["rows"]
        assert choice(ground, "sums", name, 90, 3) is None  # not so many of its kind
        assert choice(ground, IN_DOMAIN, name, 25, 3) is None


def test_a_trial_is_gathered_and_goes_on_without_work(ground, work):
    table = gathered(work)
    drawn = table.filter(pl.col("way") == "random")
    assert drawn.height == 2 * 2 * 2  # budgets, seeds, tasks
    assert table.filter(pl.col("way") == FULL)["seed"].sort().to_list() == [0, 0, 1, 1]
    whole = table.filter((pl.col("way") == FULL) & (pl.col("task") == "sums"))["relative"]
    assert whole.mean() == pytest.approx(1)
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    bench = Bench(ground, work)
    bench.base()
    bench.full(1)
    for cell in cells(["sums", IN_DOMAIN], ["gtp", "random"], [20, 50], 2):
        bench.cell(cell)
    settings = work / "settings.json"
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*.json") if path != settings}
    assert after == {path: when for path, when in before.items() if path != settings}


def test_the_command_trains_the_published_ways_and_the_whole_pool_as_often_as_told(
    ground, tmp_path, monkeypatch
):
    words = ["--work", str(tmp_path), "--budgets", "20", "--only", "sums", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", ["selection_quality", *words, "--full-seeds", "1"])
    trained = []
    monkeypatch.setattr(Bench, "cell", lambda bench, cell: trained.append((cell.way, cell.seed)))
    command.computed(ground, command.parsed())
    assert trained == [(way, seed) for seed in (0, 1) for way in MAIN]
    assert "gtp, ridge alike" in MAIN
    assert [path.name for path in (tmp_path / "trainings").glob("full.*")] == ["full.0.json"]


def test_the_same_subset_is_trained_once_and_asked_for_every_task(ground, work, tmp_path):
    found = choice(ground, "sums", "top-k", 20, 0)
    bench = Bench(ground, tmp_path)
    for task in ("sums", IN_DOMAIN):  # as if both tasks had chosen the same
        text = json.dumps({**found, "task": task, "subset": "0" * 64})
        write = tmp_path / "choices" / Cell(task, "top-k", 20, 0).choice
        write.parent.mkdir(exist_ok=True)
        write.write_text(text, "utf-8")
        bench.cell(Cell(task, "top-k", 20, 0))
    (kept,) = (tmp_path / "trainings").glob("*.json")
    assert json.loads(kept.read_text("utf-8"))["loss"].keys() == {"sums", IN_DOMAIN}


def test_tables_and_picture_show_what_was_measured(work, capsys):
    table = gathered(work)
    printed(table)
    text = capsys.readouterr().out
    cell = table.filter(
        (pl.col("way") == "gtp") & (pl.col("task") == "sums") & (pl.col("share") == 20)
    )
    mean, reach = interval(cell["relative"].to_list())
    (row,) = (line for line in text.splitlines() if line.startswith("| sums | 20 %"))
    assert f"| {mean:.3f} ± {reach:.3f} |" in row
    assert "gtp against top-k" in text
    drawn = picture(table)
    assert drawn.startswith("<svg")
    assert (
        drawn.count("<circle")
        == table.filter(pl.col("share").is_between(1, 99))
        .group_by("task", "way", "share")
        .len()
        .height
    )


def losses(**by_way):
    """A table of one task at 5 %: losses by way, a seed each."""
    rows = [
        {"task": "t", "way": way, "share": 100.0 if way == FULL else 5.0, "seed": seed, "loss": x}
        for way, values in by_way.items()
        for seed, x in enumerate(values)
    ]
    return pl.DataFrame(rows)


def test_ahead_means_intervals_apart():
    (row,) = against(losses(gtp=[1.0, 1.1], **{"top-k": [3.0, 3.1]}), "gtp").to_dicts()
    assert row["ahead"]
    assert not row["behind"]
    assert row["difference"] == pytest.approx(-2)
    (row,) = against(losses(gtp=[1.0, 3.0], **{"top-k": [1.1, 3.1]}), "gtp").to_dicts()
    assert not row["ahead"]  # the intervals overlap
    assert row["paired"]  # though every seed says the same
    assert np.isnan(interval([1.0])[1])


def test_the_full_pool_is_reached_where_the_mean_is_at_most_its():
    table = losses(gtp=[1.0, 1.2], full=[1.1, 1.2], **{"top-k": [1.2, 1.2]})
    assert reaches_full(table).to_dicts() == [{"task": "t", "way": "gtp", "share": 5.0}]


def test_correlations_count_a_subset_once(work):
    found = correlated(gathered(work))
    rows = found.filter((pl.col("task") == "sums") & (pl.col("within") == ""))
    assert rows["judge"].to_list() == ["residual_weighted", "residual_as_trained", "match"]
    # gtp, top-k and craig once a budget, random and own kind with either seed; ten of its own kind
    assert set(rows["n"]) == {3 * 2 + 2 * 2 + 2}


def test_the_demo_asks_what_the_pool_does_not_have(tmp_path):
    demo = demo_ground(tmp_path, most=12)
    assert {len(test) for test in demo.tests.values()} == {12}
    prompts = set(demo.catalog.query("SELECT prompt FROM samples")["prompt"].to_list())
    assert not prompts & {record.prompt for record in demo.tests[IN_DOMAIN]}
    assert 0.05 < demo.planted["duplicates"].mean() < 0.4
    demo.catalog.close()


def test_help_is_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["selection_quality", "--help"])
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out
