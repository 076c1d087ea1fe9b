"""How long a curator waits on the Samples page: filters, searches, orders, edits, and whole reruns.

    python -m benchmarks.browse FOLDER [--samples 150000] [--repeat 9] [--app]

A store of `--samples` samples with texts of a hundred words is made in FOLDER unless it is there
(4 checkpoints x 64: similar gradients cost a pass over the atoms, whose time `benchmarks.products`
measures; everything else does not touch them). Printed are the medians of `--repeat` runs, after
one that is not counted, of what answers one question of the page: milliseconds on the wall clock,
and of processor time, all threads together, which other programs on the machine do not lengthen;
and once each what is computed only once. `--app` adds whole reruns of the page, browser aside.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from gtp_core import GTPError, Store, open_catalog, open_store, pose, select
from gtp_core.catalog import ORDERS, Catalog, Current, Filter
from gtp_core.catalog.edits import LOG
from gtp_core.report import current_table, nearest_gradients, text_index
from gtp_core.store import Checkpoint, StoreWriter

_PART = 25_000
_DIM = 64
_WORDS = 20_000
_LENGTH = 100  # words of a text, on average
BUDGET = 500
ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path, n_samples: int, seed: int = 0) -> Store:
    """A store with long texts of frequent and rare words; the same for the same seed."""
    generator = np.random.default_rng(seed)
    checkpoints = [Checkpoint(f"step-{t}", t, 1.0) for t in range(4)]
    writer = StoreWriter(
        folder,
        name="browse",
        dim=_DIM,
        checkpoints=checkpoints,
        gradients={"samples": "adam", "tasks": "sgd"},
        projection={"type": "none", "seed": 0, "input_dim": _DIM, "dim": _DIM},
        model={"id": "none"},
        producer={"name": "benchmarks.browse", "version": "1"},
    )
    chances = 1 / np.arange(1, _WORDS + 1)
    words = np.array([f"w{i:x}" for i in range(_WORDS)])
    for start in range(0, n_samples, _PART):
        size = min(_PART, n_samples - start)
        rows = {c.name: generator.standard_normal((size, _DIM)) for c in checkpoints}
        writer.add_part(_texts(generator, words, chances / chances.sum(), start, size), rows)
    examples = pl.DataFrame(
        {
            "example_id": [f"e{i}" for i in range(16)],
            "subtask": [""] * 16,
            "prompt": ["ask"] * 16,
            "completion": ["answer"] * 16,
        }
    )
    aim = generator.standard_normal(_DIM)
    rows = {c.name: aim + generator.standard_normal((16, _DIM)) for c in checkpoints}
    writer.add_task("task", examples, rows)
    return writer.finish()


def _texts(
    generator: np.random.Generator, words: np.ndarray, chances: np.ndarray, start: int, size: int
) -> pl.DataFrame:
    lengths = np.maximum(3, generator.poisson(_LENGTH, size))
    drawn = words[generator.choice(_WORDS, lengths.sum(), p=chances)]
    ends = np.cumsum(lengths)
    texts = [" ".join(drawn[end - n : end]) for end, n in zip(ends, lengths, strict=True)]
    index = range(start, start + size)
    return pl.DataFrame(
        {
            "sample_id": [f"sample-{i:07d}" for i in index],
            "source": [f"source-{i % 12}" for i in index],
            "prompt": texts,
            "completion": [f"answer {i}" for i in index],
            "n_tokens": lengths,
            "record": ["{}"] * size,
        }
    )


def timed(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Medians of some runs by the wall clock and in processor time, ms, after one not counted."""
    if repeat > 1:
        work()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter(), time.process_time()
        work()
        ends = time.perf_counter(), time.process_time()
        taken.append([1000 * (end - begin) for begin, end in zip(start, ends, strict=True)])
    wall, processor = (statistics.median(one) for one in zip(*taken, strict=True))
    return wall, processor


def questions(catalog: Catalog, current: Current) -> dict[str, Callable[[], object]]:
    """What a visitor can ask for, by name; every answer is checked once before it is timed."""
    problem = pose(catalog, "task")
    index = text_index(catalog)
    text = catalog.texts(np.array([7]))["prompt"][0]

    def asked(*filters: tuple[str, str], order: str = "valuable") -> Callable[[], object]:
        known = [Filter(*one) for one in filters]
        return lambda: current.working_set(known, order).page(1, "task")

    def similar(kind: str, value: str) -> Callable[[], object]:
        def find() -> object:
            one = Filter(kind, value)
            near = index.nearest(value)
            if kind == "near":
                near = nearest_gradients(catalog, problem, value)
            assert near.rows[0] == 7, "a sample is most like itself"
            return current.working_set([one], "pool", {one: near}).page(1, "task")

        return find

    exists = "EXISTS (SELECT 1 FROM influences i WHERE i.row = samples.row AND influence > 0.1)"
    found = {f"order: {ORDERS[order]}": asked(order=order) for order in ORDERS}
    return found | {
        "verdict and source": asked(("verdict", "misaligned"), ("source", "source-3")),
        "keyword": asked(("search", "w4e1f")),
        "pattern": asked(("search", "/w4e.f w1/")),
        "SQL": asked(("where", "topk_rank <= 1000 AND verdict <> 'chosen'")),
        "SQL with EXISTS": asked(("where", exists)),
        "similar text": similar("like", text),
        "similar gradient": similar("near", "sample-0000007"),
    }


def edits(catalog: Catalog, current: Current) -> dict[str, Callable[[], object]]:
    """Edits of one and of all, and what the next page needs to know of them."""
    everyone = current.working_set().sample_ids()

    def batch() -> None:
        catalog.edit("ban", who="benchmark", sample_ids=everyone)
        catalog.undo("benchmark")
        assert not catalog.standing().bans

    def one() -> None:
        catalog.edit("tag", who="benchmark", sample_id=everyone[7], value="x")
        assert catalog.tags() == ["x"]
        catalog.undo("benchmark")

    return {"tag one and undo": one, f"ban all {len(everyone):,} and undo": batch}


def reruns(store: Path, workspace: Path, repeat: int) -> list[tuple[str, float, float]]:
    """Whole reruns of the page: what the server does for a key or a search."""
    import os

    from streamlit.testing.v1 import AppTest

    os.environ |= {"GTP_STORE": str(store), "GTP_WORKSPACE": str(workspace)}
    sys.path.insert(0, str(ROOT))
    script = (
        "import streamlit as st\n"
        "st.session_state['_pages'] = {}\n"
        f"exec(compile(open({str(ROOT / 'pages' / 'samples.py')!r}).read(), 'samples', 'exec'))\n"
    )
    app = AppTest.from_string(script, default_timeout=600)
    app.query_params["budget"] = str(BUDGET)
    app.run()
    assert not app.exception, app.exception[0].value
    searches = iter(f"w{i:x}" for i in range(5000, 9000))
    found = [("rerun: next sample", *timed(lambda: app.get_by_key("next").click().run(), repeat))]

    def search() -> None:
        if app.get_by_key("clear") is not None:
            app.get_by_key("clear").click().run()
        app.get_by_key("search-text").set_value(next(searches)).run()

    app.get_by_key("search-text").set_value(next(searches)).run()
    found.append(("two reruns: clear, search a word", *timed(search, repeat)))
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=150_000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--app", action="store_true", help="whole reruns of the page as well")
    options = parser.parse_args()
    folder = options.folder / f"browse-{options.samples}"
    workspace = options.folder / "work"
    workspace.mkdir(parents=True, exist_ok=True)
    store = open_store(folder) if folder.exists() else build(folder, options.samples)
    catalog = open_catalog(store, workspace=workspace)
    (catalog.workspace / LOG).unlink(missing_ok=True)  # of an earlier measurement
    problem = pose(catalog, "task")
    selection = select(problem, BUDGET)
    print(f"| {store.n_samples:,} samples, in ms | wall clock | processor |\n|---|---|---|")
    once: list[tuple[str, Callable[[], object]]] = [
        ("judging every sample", lambda: current_table(catalog, problem, selection)),
        ("counting all words", lambda: text_index(catalog)),
    ]
    for name, work in once:
        wall, processor = timed(work, 1)
        print(f"| once: {name} | {wall:,.0f} | {processor:,.0f} |", flush=True)
    current = Current(catalog, current_table(catalog, problem, selection))
    for name, work in (questions(catalog, current) | edits(catalog, current)).items():
        wall, processor = timed(work, options.repeat)
        print(f"| {name} | {wall:,.0f} | {processor:,.0f} |", flush=True)
    if options.app:
        for name, wall, processor in reruns(folder, workspace, options.repeat):
            print(f"| {name} | {wall:,.0f} | {processor:,.0f} |")
    catalog.close()


if __name__ == "__main__":
    try:
        main()
    except GTPError as error:
        sys.exit(f"browse: {error}")
