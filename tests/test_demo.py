"""Promises of the demo: the same bytes every time, and a bundled store that is whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.collect import WarmupSettings
from gtp_core.collect.encode import encode
from gtp_core.demo.build import DemoSettings, build_demo
from gtp_core.demo.model import ModelSettings, complete, load_model, train_tokenizer
from gtp_core.demo.skills import SKILLS
from gtp_core.errors import StoreError
from gtp_core.methods import Settings, select
from gtp_core.report import LOW_RELIABILITY, from_path, held_out, saved_path, task_reliability
from gtp_core.store import open_store

SHIPPED = Path(__file__).parent.parent / "data" / "demo"
MINIATURE = DemoSettings(
    pool=100,
    tokenizer_texts=200,
    checked=1,
    rank=2,
    alpha=4,
    dim=16,
    model=ModelSettings(vocabulary=300, hidden=16, inner=24, layers=1, heads=2, examples=60),
    warmup=WarmupSettings(share=0.1, epochs=2),
)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "one"
    build_demo(folder, settings=MINIATURE)
    return folder


def bytes_of(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_two_builds_give_the_same_bytes(miniature, tmp_path):
    build_demo(tmp_path / "two", settings=MINIATURE)
    one, two = bytes_of(miniature), bytes_of(tmp_path / "two")
    assert list(one) == list(two)
    assert [name for name in one if one[name] != two[name]] == []


def test_a_miniature_is_a_whole_store_with_its_side_files(miniature):
    store = open_store(miniature)
    assert store.verify() == 1 + 2 + 3 * (1 + 2)
    assert store.n_samples == 100
    assert store.dim == 16
    card = json.loads((miniature / "model-card.json").read_text())
    assert set(card["accuracy"]) == {"overall", *SKILLS}
    assert [c["name"] for c in card["warmup"]["checkpoints"]] == [c.name for c in store.checkpoints]
    assert len(list((miniature / "paths").glob("*.parquet"))) == len(store.task_names)
    assert len(list((miniature / "neighbors").glob("*/manifest.json"))) == 2


def test_a_build_leaves_torch_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("gtp_core.demo.build.prepare_paths", lambda store, progress: None)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    state = torch.random.get_rng_state()
    steps = []
    build_demo(tmp_path / "again", settings=MINIATURE, progress=lambda *step: steps.append(step))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert steps
    assert all(0 < done <= total and isinstance(what, str) for done, total, what in steps)


def test_a_store_is_not_built_over(miniature):
    with pytest.raises(StoreError, match="already holds a store"):
        build_demo(miniature, settings=MINIATURE)


def test_digits_stand_alone_and_text_survives_the_tokenizer():
    tokenizer = train_tokenizer(["what is 12 + 345? 357", "na\u00efve \u2713"] * 9, vocabulary=300)
    for text in ("12345", "a\nb  c", "\u65e5\u672c \U0001f600", '{"x": 1}'):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer.encode("12345", add_special_tokens=False)) == 5


def shipped_store():
    if not SHIPPED.exists():
        pytest.skip("data/demo is not here; build it with `python -m gtp_core demo`")
    return open_store(SHIPPED)


def test_the_shipped_store_is_whole_and_small():
    store = shipped_store()
    assert store.verify() > 0
    assert (store.n_samples, store.dim, len(store.checkpoints)) == (4000, 256, 4)
    assert set(store.task_names) == {"shop-arithmetic", "tidy-data", "calendar"}
    own = [f for f in SHIPPED.rglob("*") if f.is_file() and "runs" not in f.parts]
    own = [f for f in own if not f.name.startswith(("catalog-", "edits"))]
    assert sum(f.stat().st_size for f in own) <= 12_500_000


def test_the_shipped_store_counts_every_invalid_gradient():
    store = shipped_store()
    norms = store.norms()
    invalid = {"zero": norms == 0, "nan": np.isnan(norms), "inf": np.isinf(norms)}
    found = {kind: int(rows.any(axis=1).sum()) for kind, rows in invalid.items()}
    assert found == store.manifest.invalid
    samples = store.samples().select("sample_id", "record").collect()
    assert samples.height == store.n_samples
    ids = [json.loads(record)["id"] for record in samples["record"]]
    assert ids == samples["sample_id"].to_list()


def test_truth_and_tests_belong_to_the_shipped_store():
    store = shipped_store()
    truth = [json.loads(line) for line in (SHIPPED / "truth.jsonl").read_text().splitlines()]
    samples = store.samples().select("sample_id", "n_tokens").collect()
    assert [row["id"] for row in truth] == samples["sample_id"].to_list()
    assert samples["n_tokens"].min() > 1
    for task in store.task_names:
        lines = (SHIPPED / "tests" / f"{task}.jsonl").read_text().splitlines()
        held_out = {json.loads(line)["prompt"] for line in lines}
        assert held_out
        assert held_out.isdisjoint(store.examples(task)["prompt"].to_list())


def test_the_shipped_model_answers():
    shipped_store()
    model, tokenizer = load_model(SHIPPED / "model")
    prompt = 'Is this review positive or negative? "Rosa is happy with the lamp."'
    assert complete(model, tokenizer, [prompt]) == ["positive"]
    sample = encode(tokenizer, prompt, "positive", max_tokens=256)
    assert sample.completion[-1] == tokenizer.eos_token_id


def test_the_shipped_model_solves_part_of_every_skill():
    shipped_store()
    card = json.loads((SHIPPED / "model-card.json").read_text())
    assert set(card["accuracy"]) == {"overall", *SKILLS}
    assert min(card["accuracy"].values()) > 0


def test_the_shipped_warm_up_lowers_the_loss_of_the_large_tasks():
    shipped_store()
    losses = json.loads((SHIPPED / "model-card.json").read_text())["test_loss_in_nats"]
    for task in ("shop-arithmetic", "tidy-data"):
        by_step = [found[task] for found in losses.values()]
        assert all(loss < by_step[0] for loss in by_step[1:])


@pytest.fixture(scope="module")
def shipped_catalog(tmp_path_factory):
    catalog = open_catalog(shipped_store(), workspace=tmp_path_factory.mktemp("workspace"))
    yield catalog
    catalog.close()


def test_the_shipped_tasks_are_as_reliable_as_they_say(shipped_catalog):
    found = {t: task_reliability(shipped_catalog, t).full for t in shipped_catalog.store.task_names}
    assert min(found["shop-arithmetic"], found["tidy-data"]) > LOW_RELIABILITY > found["calendar"]


@pytest.mark.parametrize("task", ["shop-arithmetic", "tidy-data", "calendar"])
def test_the_shipped_paths_are_what_solving_again_gives(shipped_catalog, task):
    problem, settings = pose(shipped_catalog, task), Settings()
    path = saved_path(shipped_catalog, problem, settings)
    assert path is not None
    budgets = sorted(path["budget"].unique())
    for budget, method in ((budgets[0], "gtp"), (budgets[9], "top-k"), (budgets[9], "random")):
        kept, held = from_path(path, problem, str(budget), method, settings)
        again = select(problem, str(budget), method=method, settings=settings)
        assert kept.support.tolist() == again.support.tolist()
        np.testing.assert_allclose(kept.weights, again.weights, rtol=1e-9)
        assert (kept.stop, kept.settings) == (again.stop, again.settings)
        match = held_out(problem, budget, method=method, settings=settings).match
        assert held.match == pytest.approx(match, rel=1e-9)
