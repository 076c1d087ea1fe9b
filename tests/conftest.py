"""Small stores with everything awkward in them: uneven parts, invalid rows, duplicates."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import ArrayLike

from gtp_core.atoms import Problem, pose_array
from gtp_core.catalog import open_catalog
from gtp_core.neighbors import layout
from gtp_core.neighbors.kept import put
from gtp_core.store import Checkpoint, Store, StoreWriter, write_json
from gtp_core.store.manifest import store_id_of

STEP_SIZES = (0.5, 2.0, 1.25)
TASKS = {"maths": {"sums": 5, "proofs": 2, "units": 1}, "dates": {"": 4}}
INVALID = {7: 0.0, 20: float("nan"), 33: float("inf")}
DUPLICATES = {45: 5, 46: 5, 50: 12}


def raw_rows(
    generator: np.random.Generator, n: int, dim: int, common: float, checkpoint: int
) -> np.ndarray:
    """Rows of very different lengths that share a direction, another one at every checkpoint."""
    shared = np.zeros(dim)
    shared[checkpoint % dim] = common * np.sqrt(dim)
    rows = generator.standard_normal((n, dim)) + shared
    return rows * generator.lognormal(0.0, 2.0, (n, 1))


def build_store(
    folder: Path,
    *,
    name: str = "small",
    n: int = 60,
    dim: int = 16,
    step_sizes: Sequence[float] = STEP_SIZES,
    part_rows: Sequence[int] = (25, 0, 34, 1),
    tasks: Mapping[str, Mapping[str, int]] = TASKS,
    invalid: Mapping[int, float] = INVALID,
    duplicates: Mapping[int, int] = DUPLICATES,
    common: float = 0.7,
    seed: int = 0,
) -> Store:
    """A store of `n` samples in parts of `part_rows` (that sum to n), the same for the same seed.

    Args:
        invalid: row -> the value its whole gradient has at the row's own checkpoint.
        duplicates: row -> the row whose gradients it repeats exactly.
        common: how strongly all rows lean one way.
    """
    generator = np.random.default_rng(seed)
    checkpoints = [Checkpoint(f"step-{10 * t}", 10 * t, s) for t, s in enumerate(step_sizes)]
    rows = [raw_rows(generator, n, dim, common, t) for t in range(len(checkpoints))]
    for matrix in rows:
        for copy, original in duplicates.items():
            matrix[copy] = matrix[original]
    for row, value in invalid.items():
        rows[row % len(rows)][row] = value
    writer = StoreWriter(
        folder,
        name=name,
        dim=dim,
        checkpoints=checkpoints,
        gradients={"samples": "adam", "tasks": "sgd"},
        projection={"type": "rademacher", "seed": 0, "input_dim": 1000, "dim": dim},
        model={"id": "nobody/toy", "adapter": {"rank": 8, "alpha": 16}},
        producer={"name": "tests", "version": "1"},
    )
    start = 0
    for size in part_rows:
        part = slice(start, start + size)
        gradients = {c.name: m[part] for c, m in zip(checkpoints, rows, strict=True)}
        writer.add_part(sample_table(range(start, start + size)), gradients)
        start += size
    assert start == n
    for task, subtasks in tasks.items():
        size = sum(subtasks.values())
        gradients = {
            c.name: raw_rows(generator, size, dim, common / 2, t) for t, c in enumerate(checkpoints)
        }
        writer.add_task(task, example_table(task, subtasks), gradients)
    return writer.finish()


def sample_table(rows: Sequence[int]) -> pl.DataFrame:
    """Samples of four sources, with text that is hostile to anything that interprets it."""
    return pl.DataFrame(
        {
            "sample_id": [f"id-{i:04d}" for i in rows],
            "source": [("flan", "dolly", "o'asst", "flan")[i % 4] for i in rows],
            "prompt": [f"Wieviel ist {i} + {i}? <b>日本\u2028🎉</b> ' \" ; --" for i in rows],
            "completion": [f"{2 * i}\n=cmd()" for i in rows],
            "n_tokens": [5 + (i * 7) % 40 for i in rows],
            "record": [f'{{"id":{i}, "x": "é"}}' for i in rows],
        },
        schema_overrides={"n_tokens": pl.Int64}
        | dict.fromkeys(("sample_id", "source", "prompt", "completion", "record"), pl.String),
    )


def example_table(task: str, subtasks: Mapping[str, int]) -> pl.DataFrame:
    """Validation examples with the subtasks taking turns, so that none is contiguous."""
    turns = sorted((place, name) for name, size in subtasks.items() for place in range(size))
    return pl.DataFrame(
        {
            "example_id": [f"{task}-{i}" for i in range(len(turns))],
            "subtask": [name for _, name in turns],
            "prompt": [f"Frage {i}?" for i in range(len(turns))],
            "completion": [f"Antwort {i}." for i in range(len(turns))],
        },
        schema=dict.fromkeys(("example_id", "subtask", "prompt", "completion"), pl.String),
    )


def edit_manifest(folder: Path, change, *, same_id: bool = False) -> None:
    """Change the manifest's document as someone would by hand; its id follows unless `same_id`."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    if not same_id:
        document["store_id"] = store_id_of(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def swap(one: Path, two: Path) -> None:
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


def less_influence(store, task: str) -> np.ndarray:
    """LESS's matching, one cosine at a time: max over subtasks, mean over examples, sum over
    checkpoints weighted by step size."""
    sizes = [c.step_size for c in store.checkpoints]
    subtasks = store.examples(task)["subtask"].to_list()
    answer = np.zeros(store.n_samples)
    rows = [
        np.concatenate([store.part_rows(p, t)[0] for p in range(len(store.manifest.parts))])
        for t in range(len(sizes))
    ]
    asked = [store.task_rows(task, t)[0] for t in range(len(sizes))]
    for i in range(store.n_samples):
        scores: dict[str, list[float]] = {}
        for j, subtask in enumerate(subtasks):
            score = sum(
                size
                / sum(sizes)
                * float(np.dot(rows[t][i].astype(float), asked[t][j].astype(float)))
                for t, size in enumerate(sizes)
            )
            scores.setdefault(subtask, []).append(score)
        answer[i] = max(sum(s) / len(s) for s in scores.values())
    return answer


def write_map(catalog) -> None:
    """A map as the command leaves it, without the time that UMAP takes to compile."""
    generator = np.random.default_rng(0)
    n = catalog.store.n_samples
    said = layout._said(catalog, layout.WHOLE, 0) | {"names": ["<b>one</b>", "two $x$"]}

    def write(folder: Path) -> None:
        np.save(folder / "xy.npy", generator.random((n, 2)).astype(np.float32))
        np.save(folder / "topic.npy", (np.arange(n) % 2).astype(np.int16))
        write_json(folder / "manifest.json", said)

    put(layout._folder(catalog, layout.WHOLE, 0), write)


def with_tokens(problem: Problem, tokens: ArrayLike) -> Problem:
    """The same problem for samples of other lengths."""
    return replace(problem, tokens=np.asarray(tokens, dtype=np.int64))


def array_problem(n: int = 120, dim: int = 30, seed: int = 0) -> Problem:
    """Atoms and a target that point anywhere."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((n, dim))
    return pose_array(
        matrix / np.linalg.norm(matrix, axis=1, keepdims=True), generator.standard_normal(dim)
    )


@pytest.fixture
def small_store(tmp_path) -> Callable[..., Store]:
    """`small_store(**what)` builds a store in a folder of its own."""
    return lambda folder="store", **what: build_store(tmp_path / folder, **what)


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    """The catalog of the default small store; tests may read it and must not write to it."""
    opened = open_catalog(build_store(tmp_path_factory.mktemp("session") / "store"))
    yield opened
    opened.close()


@pytest.fixture
def own_catalog(catalog, tmp_path):
    """A copy of the same, loaded already, that a test may write to."""
    opened = open_catalog(shutil.copytree(catalog.store.folder, tmp_path / "store"))
    yield opened
    opened.close()


@pytest.fixture
def says():
    """`says(error, *parts)`: one sentence or two on one line, holding these parts."""

    def check(error: BaseException, *parts: str) -> None:
        text = str(error)
        assert "\n" not in text
        assert text.endswith(".")
        assert "Traceback" not in text
        assert all(part in text for part in parts), text

    return check
