"""Promises of gtp_core.catalog: files are the truth, the database is rebuilt from them at will."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import INVALID, build_store, edit_manifest, less_influence, sample_table, swap

from gtp_core.catalog import TABLES, open_catalog, workspace_of
from gtp_core.catalog.load import database_path
from gtp_core.catalog.tables import EMPTY
from gtp_core.errors import CatalogError, RunError, StoreError, TaskError
from gtp_core.store import open_store

LOADED = ("samples", "tasks", "examples", "checkpoints", "influences", "health")


def contents(catalog) -> dict[str, pl.DataFrame]:
    return {name: catalog.query(f"SELECT * FROM {name} ORDER BY ALL") for name in LOADED}


def same_contents(one, two) -> bool:
    pairs = zip(contents(one).values(), contents(two).values(), strict=True)
    return all(a.equals(b) for a, b in pairs)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


# --- the tables ------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_documented_table_exists(catalog, table):
    assert catalog.query(f"FROM {table}").width > 1


@pytest.mark.parametrize("table", [t for t in TABLES if t not in ("health", "runs", "edits")])
def test_columns_are_the_documented_ones(catalog, table):
    columns = set(catalog.query(f"FROM {table}").columns)
    told = set(re.findall(r"\w+", TABLES[table].partition(":")[2] or TABLES[table]))
    assert columns - {"row", "sample_id", "run", "task"} <= told


def test_samples_are_the_pool_in_row_order(catalog):
    found = catalog.query("FROM samples ORDER BY row")
    assert found["row"].to_list() == list(range(60))
    assert found.drop("row").equals(sample_table(range(60)).drop("record"))
    assert catalog.sample_ids().to_list() == found["sample_id"].to_list()


def test_small_tables_say_what_the_store_says(catalog):
    store = catalog.store
    checkpoints = catalog.query("FROM checkpoints ORDER BY position")
    assert checkpoints["checkpoint"].to_list() == [c.name for c in store.checkpoints]
    assert checkpoints["eta"].sum() == pytest.approx(1)
    tasks = catalog.query("SELECT task, n_examples, n_subtasks, n_invalid FROM tasks ORDER BY task")
    assert tasks.rows() == [("dates", 4, 1, 0), ("maths", 8, 3, 0)]
    examples = catalog.query("SELECT * EXCLUDE task FROM examples WHERE task = 'maths'")
    assert examples.equals(store.examples("maths"))


@pytest.mark.parametrize("task", ["maths", "dates"])
def test_influence_is_the_formula_of_less(catalog, task):
    wanted = less_influence(catalog.store, task)
    found = catalog.influence(task)
    assert np.flatnonzero(np.isnan(found)).tolist() == sorted(INVALID)
    assert np.allclose(found[catalog.valid()], wanted[catalog.valid()], atol=1e-6)


def test_influence_is_the_sum_of_its_checkpoints_at_the_named_subtask(catalog):
    table = catalog.query("FROM influences WHERE influence IS NOT NULL")
    parts = np.array(table["by_checkpoint"].to_list())
    assert parts.shape == (2 * (60 - len(INVALID)), 3)
    assert np.allclose(parts.sum(axis=1), table["influence"].to_numpy(), atol=1e-6)
    assert set(table.filter(task="maths")["subtask"]) <= {"sums", "proofs", "units"}


def test_health_names_what_is_wrong(catalog):
    found = catalog.query("SELECT row, valid, reason FROM health WHERE NOT valid ORDER BY row")
    assert found["row"].to_list() == sorted(INVALID)
    for (row, value), reason in zip(sorted(INVALID.items()), found["reason"], strict=True):
        word = "zero" if value == 0 else "NaN" if np.isnan(value) else "infinite"
        assert word in reason, row
    healthy = catalog.query("SELECT reason FROM health WHERE valid")
    assert healthy["reason"].null_count() == 60 - len(INVALID)
    norms = np.array(catalog.query("SELECT norms FROM health ORDER BY row")["norms"].to_list())
    assert np.array_equal(norms.astype(np.float32), catalog.store.norms(), equal_nan=True)


def test_common_direction_is_the_unit_mean_of_valid_rows(catalog):
    found = catalog.common_direction()
    table = catalog.query("SELECT coherence FROM checkpoints ORDER BY position")
    for t, direction in enumerate(found):
        unit = np.concatenate([catalog.store.part_rows(p, t)[0] for p in range(4)]).astype(float)
        unit = unit[catalog.valid()]
        mean = unit.mean(axis=0)
        assert np.allclose(direction, mean / np.linalg.norm(mean), atol=1e-6)
        cosines = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
        assert table["coherence"][t] == pytest.approx(cosines.mean(), abs=1e-3)


def test_rows_of_ids_and_texts_of_rows_keep_the_order_asked(catalog):
    assert catalog.rows_of(["id-0030", "id-0002", "id-0030"]).tolist() == [30, 2, 30]
    assert catalog.rows_of([]).tolist() == []
    assert catalog.texts(np.array([9, 3]))["sample_id"].to_list() == ["id-0009", "id-0003"]


def test_unknown_ids_and_tasks_are_one_sentence(catalog, says):
    with pytest.raises(CatalogError) as caught:
        catalog.rows_of(["id-0001", "nobody"])
    says(caught.value, "1 of 2", "'nobody'", "small-")
    with pytest.raises(TaskError) as caught:
        catalog.influence("nope")
    says(caught.value, "maths, dates")


def test_a_task_without_usable_examples_blocks_no_other(small_store, says):
    catalog = open_catalog(small_store(tasks={"empty": {}, "maths": {"a": 3}}))
    assert np.isfinite(catalog.influence("maths")).sum() == 57
    with pytest.raises(TaskError) as caught:
        catalog.influence("empty")
    says(caught.value, "'empty'", "Choose")


# --- opening ---------------------------------------------------------------------------------


def test_a_second_opening_does_no_work(own_catalog):
    before = files_of(own_catalog.store.folder)

    def progress(*_):
        raise AssertionError("nothing was to be loaded")

    again = open_catalog(own_catalog.store, progress=progress)
    assert same_contents(own_catalog, again)
    assert files_of(own_catalog.store.folder) == before


def test_progress_goes_from_nothing_to_everything(small_store):
    seen = []
    open_catalog(small_store(), progress=lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert {total for _, total, _ in seen} == {5}


def test_a_load_cancelled_by_its_progress_goes_on_where_it_was(small_store):
    store, seen = small_store(), []

    def cancel(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_catalog(store, progress=cancel)
    staged = files_of(store.folder)
    opened = open_catalog(store, progress=lambda *step: seen.append(step))
    assert sum("00000.parquet" in name for name in staged) == 2  # the store's own, and a staged one
    assert opened.query("FROM health").height == 60
    assert not list(store.folder.glob("loading-*"))


def test_deleting_the_database_costs_only_its_rebuilding(own_catalog):
    path = database_path(own_catalog.store, own_catalog.workspace)
    path.unlink()
    again = open_catalog(own_catalog.store)
    assert same_contents(own_catalog, again)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import duckdb
from pathlib import Path
left = {moment}
def tick():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
from gtp_core.store import files
from gtp_core.catalog import load, open_catalog
real = os.replace
def replace(a, b):
    tick()
    real(a, b)
os.replace = replace
for name in ("_write_samples", "_write_numbers", "_write_store_tables"):
    def wrapped(*a, _real=getattr(load, name)):
        _real(*a)
        tick()
    setattr(load, name, wrapped)
path = Path.replace
def path_replace(self, target):
    tick()
    return path(self, target)
Path.replace = path_replace
open_catalog({store!r})
"""


@pytest.mark.parametrize("moment", [1, 9, 12])
def test_a_killed_load_resumes_and_is_never_taken_for_whole(tmp_path, catalog, moment):
    """Killed at the first and a middle staged file, in the tables, and before the last rename."""
    store = build_store(tmp_path / "store")
    script = KILLED.format(tests=str(Path(__file__).parent), moment=moment, store=str(store.folder))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not database_path(store, store.folder).exists()
    resumed = open_catalog(store)
    assert same_contents(resumed, catalog)
    assert not list(store.folder.glob("loading-*"))


OPEN = "import sys; from gtp_core.catalog import open_catalog as o; c = o(sys.argv[1]); "
ASK = "print(c.query('SELECT sum(influence) AS s FROM influences')['s'][0])"


def test_several_processes_load_and_read_at_once(tmp_path):
    store = build_store(tmp_path / "store")
    command = [sys.executable, "-c", OPEN + ASK, str(store.folder)]
    where = {"cwd": Path(__file__).parents[1], "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen(command, **where, **pipes) for _ in range(3)]
    mine = open_catalog(store).query("SELECT sum(influence) AS s FROM influences")["s"][0]
    answers = [process.communicate(timeout=60) for process in running]
    assert [errors for _, errors in answers] == [""] * 3
    assert [float(out) for out, _ in answers] == [mine] * 3


def test_a_load_that_another_process_finished_is_not_an_error(small_store, monkeypatch):
    """The other one takes the staging folder away in the middle of ours."""
    from gtp_core.catalog import load

    store = small_store()
    build, calls = load._build, []

    def slow(*arguments):
        if not calls:
            calls.append(1)
            open_catalog(store).close()
        return build(*arguments)

    monkeypatch.setattr(load, "_build", slow)
    assert open_catalog(store).query("FROM samples").height == 60
    assert not list(store.folder.glob("loading-*"))


def test_many_threads_ask_one_catalog(own_catalog):
    def work(i):
        own_catalog.edit("tag", who="me", sample_id=f"id-{i:04d}", value="x")
        own_catalog.ask("SELECT gradient(row, 'step-0') FROM samples")
        return own_catalog.query("SELECT count(*) AS n FROM influences")["n"].item()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [120] * 16
    assert own_catalog.query("FROM tags").height == 16


# --- the workspace ---------------------------------------------------------------------------


def test_a_workspace_keeps_everything_out_of_the_store(small_store, tmp_path):
    store = small_store()
    before = files_of(store.folder)
    catalog = open_catalog(store, workspace=tmp_path / "mine")
    catalog.edit("pin", who="me", sample_id="id-0001")
    assert catalog.workspace == tmp_path / "mine" / store.store_id
    assert files_of(store.folder) == before
    assert {p.name.split("-")[0] for p in catalog.workspace.iterdir()} == {"catalog", "edits.jsonl"}


def test_a_read_only_store_gets_a_folder_of_the_users(small_store, tmp_path, monkeypatch):
    store, real = small_store(), os.access
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda p, mode: p != store.folder and real(p, mode))
    assert workspace_of(store) == tmp_path / "home" / "gtp-explorer" / store.store_id


def test_a_workspace_that_cannot_be_is_one_sentence(small_store, tmp_path, says):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CatalogError) as caught:
        open_catalog(small_store(), workspace=tmp_path / "file")
    says(caught.value, "cannot be written to", "--workspace")


def test_paths_may_hold_quotes_and_wildcards(tmp_path):
    catalog = open_catalog(build_store(tmp_path / "it's [a] *pool"))
    assert catalog.query("FROM samples").height == 60


# --- damage ----------------------------------------------------------------------------------


def middle(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 :] = os.urandom(len(raw) - 4096 * 3)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"not a database" * 1000),
        lambda p: p.write_bytes(p.read_bytes()[:5000]),
        middle,
    ],
    ids=["empty", "other", "cut", "scrambled"],
)
def test_a_damaged_database_is_one_sentence_that_says_to_delete_it(small_store, says, harm):
    store = small_store()
    open_catalog(store).close()
    harm(database_path(store, store.folder))
    with pytest.raises(CatalogError) as caught:
        contents(open_catalog(store))
    says(caught.value, ".duckdb", "Delete it")


def test_another_database_under_the_name_is_one_sentence(small_store, says):
    import duckdb

    store = small_store()
    duckdb.connect(str(database_path(store, store.folder))).close()
    with pytest.raises(CatalogError) as caught:
        open_catalog(store)
    says(caught.value, "Delete it")


def replaced(folder: Path, part: int, change) -> None:
    """Rewrite a part's samples and mend the manifest's size, as a foreign writer might have."""
    path = folder / f"samples/part-{part:05d}.parquet"
    change(pl.read_parquet(path, glob=False)).write_parquet(path)

    def resize(document):
        document["parts"][part]["files"][0]["bytes"] = path.stat().st_size

    edit_manifest(folder, resize)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.with_columns(sample_id=pl.lit("same")), ("'same'", "unique", "Rename")),
        (lambda t: t.with_columns(sample_id=pl.lit("id-0001")), ("'id-0001'", "unique")),
        (lambda t: t.with_columns(sample_id=pl.lit(None, pl.String)), ("sample_id", "34")),
        (lambda t: t.head(20), ("20 rows", "wants 34")),
        (lambda t: t.drop("prompt"), ("prompt", "inspect --verify")),
        (lambda t: t.with_columns(n_tokens=pl.lit("many")), ("many",)),
    ],
)
def test_samples_that_do_not_fit_are_refused(small_store, says, change, parts):
    folder = small_store().folder
    replaced(folder, 2, change)
    with pytest.raises(CatalogError) as caught:
        open_catalog(open_store(folder))
    says(caught.value, *parts)


@pytest.mark.parametrize("file", ["samples/part-00000.parquet", "tasks/maths/examples.parquet"])
def test_scrambled_tables_are_refused(small_store, says, file):
    store = small_store()
    path = store.folder / file
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises((CatalogError, StoreError)) as caught:
        open_catalog(store)
    says(caught.value)


def test_swapped_examples_are_refused(small_store, says):
    store = small_store()
    swap(*(store.folder / f"tasks/{t}/examples.parquet" for t in ("maths", "dates")))
    with pytest.raises(StoreError) as caught:
        open_catalog(store)
    says(caught.value, "examples", "wants")


# --- edits -----------------------------------------------------------------------------------


def test_edits_append_and_undo(own_catalog):
    who = {"who": "Zoë"}
    pin = own_catalog.edit("pin", sample_id="id-0001", **who)
    tag = own_catalog.edit("tag", sample_id="id-0002", value="a\u2028b\x85\n,\"'日本", **who)
    ban = own_catalog.edit("ban", sample_id="id-0003", **who)
    assert [e.edit for e in (pin, tag, ban)] == [1, 2, 3]
    assert own_catalog.edits() == [pin, tag, ban]
    assert own_catalog.query("FROM tags").rows() == [("id-0002", tag.value)]
    undo = own_catalog.edit("undo", undoes=tag.edit, **who)
    assert (undo.edit, undo.undoes) == (4, 2)
    assert own_catalog.edits() == [pin, ban]
    assert own_catalog.query("FROM tags").is_empty()
    assert own_catalog.query("SELECT edit, what FROM edits ORDER BY edit").rows() == [
        (1, "pin"),
        (2, "tag"),
        (3, "ban"),
        (4, "undo"),
    ]
    own_catalog.edit("undo", undoes=tag.edit, **who)  # undone twice is undone
    assert own_catalog.edits() == [pin, ban]


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        ({"what": "paint", "sample_id": "id-0001"}, "'paint'"),
        ({"what": "pin", "sample_id": "nobody"}, "'nobody'"),
        ({"what": "pin"}, "names no sample"),
        ({"what": "undo", "undoes": 7}, "edit 7"),
        ({"what": "undo", "undoes": 2}, "edit 2"),
    ],
)
def test_wrong_edits_are_refused_and_not_written(own_catalog, says, edit, part):
    own_catalog.edit("pin", who="me", sample_id="id-0001")
    own_catalog.edit("undo", who="me", undoes=1)
    with pytest.raises(CatalogError) as caught:
        own_catalog.edit(**edit, who="me")
    says(caught.value, part)
    assert own_catalog.query("FROM edits").height == 2


@pytest.mark.parametrize("cut", [1, 2, 20, 100])
def test_a_line_cut_short_is_as_if_never_written(own_catalog, cut):
    first = own_catalog.edit("pin", who="me", sample_id="id-0001")
    own_catalog.edit("tag", who="me", sample_id="id-0002", value="日本" * 20)
    log = own_catalog.workspace / "edits.jsonl"
    log.write_bytes(log.read_bytes()[:-cut])
    kept = own_catalog.edits()
    assert kept[0] == first
    assert len(kept) == (2 if cut == 1 else 1)  # without its newline alone it is whole
    third = own_catalog.edit("ban", who="me", sample_id="id-0003")
    assert own_catalog.edits() == [*kept, third]
    own_catalog.edit("undo", who="me", undoes=third.edit)
    assert own_catalog.edits() == kept


@pytest.mark.parametrize("line", ["[" * 5000, "3", "null", '{"what": 1}', '{"x": 1}', "\x00"])
def test_odd_lines_in_the_log_are_passed_over(own_catalog, line):
    log = own_catalog.workspace / "edits.jsonl"
    log.write_text(line + "\n")
    mine = own_catalog.edit("tag", who="me", sample_id="id-0001", value="x")
    assert own_catalog.edits() == [mine]
    assert own_catalog.query("FROM tags").height == 1


def test_people_who_edit_at_once_get_numbers_of_their_own(own_catalog):
    """Two handles on one workspace, as two processes have them."""
    other = open_catalog(own_catalog.store)
    jobs = [(c, i) for i in range(40) for c in (own_catalog, other)]

    def pin(job):
        return job[0].edit("pin", who="me", sample_id=f"id-{job[1]:04d}").edit

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(pin, jobs))
    assert sorted(numbers) == list(range(1, 81))
    own_catalog.edit("undo", who="me", undoes=numbers[0])
    assert len(other.edits()) == 79


# --- runs ------------------------------------------------------------------------------------


def run_of(run_id: str = "gtp-1", **change):
    document = {
        "run": run_id,
        "method": "gtp",
        "task": "maths",
        "budget": "2",
        "n_selected": 2,
        "residual_weighted": 0.5,
        "residual_as_trained": 0.75,
        "held_out": {"match": 0.1, "ceiling": 0.2, "splits": 5},
        "residuals": [0.5],
        "stop": "stable",
        "settings": {"ridge": 0.1, "pins": [], "where": None, "é": "x"},
    }
    ids = ["id-0004", "id-0009"]
    tables = {
        "selection": pl.DataFrame({"rank": [1, 2], "sample_id": ids, "weight": [0.6, 0.4]}),
        "rounds": pl.DataFrame({"round": [1], "residual": [0.5]}),
        "verdicts": pl.DataFrame({"sample_id": ids, "verdict": ["chosen"] * 2}),
    }
    for name, shown in (("selection", "selections"), ("verdicts", "verdicts")):
        for column in EMPTY[shown].split(", "):
            label, kind = column.split()
            if label not in (*tables[name].columns, "run"):
                null = pl.lit(None, pl.String if kind == "VARCHAR" else pl.Float64)
                tables[name] = tables[name].with_columns(null.alias(label))
    return document | change, tables


def test_a_saved_run_comes_back_and_is_in_the_tables(own_catalog):
    document, tables = run_of()
    own_catalog.save_run(document, tables)
    read, again = own_catalog.read_run("gtp-1")
    assert read == document
    assert all(again[name].equals(tables[name]) for name in tables)
    row = own_catalog.query("FROM runs").row(0, named=True)
    assert json.loads(row.pop("settings")) == document["settings"]
    assert row["held_out_match"] == 0.1
    assert row["stop"] == "stable"
    assert own_catalog.query("SELECT run, sample_id FROM selections ORDER BY rank").rows() == [
        ("gtp-1", "id-0004"),
        ("gtp-1", "id-0009"),
    ]
    assert own_catalog.query("FROM verdicts").height == 2


@pytest.mark.parametrize("settings", [{}, {"a": []}, {"a": {"b": None}}, {"a": [1, "x", None]}])
def test_runs_may_have_any_settings_and_no_held_out_match(own_catalog, settings):
    own_catalog.save_run(*run_of(settings=settings, held_out=None, budget=5))
    row = own_catalog.query("FROM runs").row(0, named=True)
    assert json.loads(row["settings"]) == settings
    assert row["held_out_match"] is None
    assert row["budget"] == "5"


def test_runs_of_others_appear_and_disappear(own_catalog):
    other = open_catalog(own_catalog.store)
    for name in ("gtp-1", "gtp-2"):
        other.save_run(*run_of(name))
    assert own_catalog.list_runs() == ["gtp-1", "gtp-2"]
    assert own_catalog.query("SELECT run FROM runs ORDER BY run")["run"].to_list() == [
        "gtp-1",
        "gtp-2",
    ]
    other.delete_run("gtp-1")
    assert own_catalog.ask("SELECT run FROM runs")["run"].to_list() == ["gtp-2"]
    assert own_catalog.query("FROM selections").height == 2
    with pytest.raises(RunError):
        own_catalog.read_run("gtp-1")


def test_saving_a_run_again_changes_nothing(own_catalog):
    own_catalog.save_run(*run_of())
    before = files_of(own_catalog.workspace)
    own_catalog.save_run(*run_of(stop="other"))
    assert files_of(own_catalog.workspace) == before


@pytest.mark.parametrize("run_id", ["../x", "", "a/b", ".hidden", "a\n", "é", "x" * 161])
def test_a_run_id_that_is_no_name_is_refused(own_catalog, says, run_id):
    for call in (
        own_catalog.read_run,
        own_catalog.delete_run,
        lambda i: own_catalog.save_run(*run_of(i)),
    ):
        with pytest.raises(RunError) as caught:
            call(run_id)
        says(caught.value, "Known runs: none yet")


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: (f / "run.json").write_text("{"),
        lambda f: (f / "run.json").write_text("[]"),
        lambda f: (f / "run.json").write_text('{"run": "gtp-1"}'),
        lambda f: (f / "verdicts.parquet").unlink(),
        lambda f: (f / "selection.parquet").write_bytes(b"PAR1"),
        lambda f: f.rename(f.with_name("copy of gtp-1")),
    ],
)
def test_a_damaged_run_does_not_stand_in_the_way_of_others(own_catalog, harm):
    own_catalog.save_run(*run_of("gtp-1"))
    own_catalog.save_run(*run_of("gtp-2"))
    harm(own_catalog.workspace / "runs" / "gtp-1")
    fresh = open_catalog(own_catalog.store)
    assert fresh.query("SELECT run FROM runs")["run"].to_list() == ["gtp-2"]
    assert fresh.query("FROM samples").height == 60


@pytest.mark.parametrize("name", ["run.json", "verdicts.parquet"])
def test_a_damaged_run_is_one_sentence_where_it_is_named(own_catalog, says, name):
    own_catalog.save_run(*run_of())
    (own_catalog.workspace / "runs" / "gtp-1" / name).write_text("{")
    with pytest.raises(RunError) as caught:
        own_catalog.read_run("gtp-1")
    says(caught.value, "'gtp-1'", "damaged", "Delete")


def test_a_half_saved_run_is_no_run(own_catalog):
    document, tables = run_of()
    del tables["verdicts"]
    with pytest.raises(KeyError):
        own_catalog.save_run(document, tables)
    assert own_catalog.list_runs() == []
    own_catalog.save_run(*run_of())
    assert own_catalog.list_runs() == ["gtp-1"]


# --- the curator's SQL -----------------------------------------------------------------------

REFUSED = {
    "read csv": "SELECT * FROM read_csv('/etc/passwd')",
    "read text": "SELECT * FROM read_text('{store}/manifest.json')",
    "read parquet": "SELECT * FROM read_parquet('{store}/samples/part-00000.parquet')",
    "bare path": "SELECT * FROM '{store}/samples/part-00000.parquet'",
    "glob": "SELECT * FROM glob('/*')",
    "copy": "COPY samples TO '{store}/out.csv'",
    "attach": "ATTACH '{store}/new.duckdb'",
    "export": "EXPORT DATABASE '{store}/out'",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "set": "SET enable_external_access = true",
    "reset": "RESET lock_configuration",
    "pragma": "PRAGMA enable_external_access = true",
    "pragma read": "PRAGMA database_list",
    "call": "CALL pragma_version()",
    "create": "CREATE TABLE x AS SELECT 1",
    "insert": "INSERT INTO tags VALUES ('id-0001', 'x')",
    "update": "UPDATE tags SET tag = 'x'",
    "delete": "DELETE FROM runs",
    "drop": "DROP TABLE runs",
    "write in with": "WITH x AS (INSERT INTO tags VALUES ('a', 'b') RETURNING *) SELECT * FROM x",
    "delete in with": "WITH x AS (DELETE FROM tags RETURNING *) SELECT * FROM x",
    "write in query()": "SELECT * FROM query('DELETE FROM tags')",
    "transaction": "BEGIN",
    "two": "SELECT 1; SELECT 2",
    "two, hidden": "SELECT 1) ; DROP TABLE runs; SELECT * FROM (SELECT 1",
    "brackets": "SELECT 1) UNION ALL (SELECT 2",
    "explain": "EXPLAIN SELECT 1",
    "nothing": "",
    "comment": "-- SELECT 1",
    "open comment": "SELECT 1 /*",
    "no table": "SELECT * FROM nowhere",
    "python variable": "SELECT * FROM a_table_of_python",
    "parameter": "SELECT $1",
    "type without Polars": "SELECT INTERVAL 1 DAY",
    "union type": "SELECT union_value(k := 1)",
    "division": "SELECT 1 // 'x'",
    "nul": "SELECT '\x00",
}


@pytest.mark.parametrize("what", REFUSED)
def test_sql_that_is_not_one_harmless_select_is_refused(catalog, says, what):
    a_table_of_python = pl.DataFrame({"a": [1]})  # DuckDB would find it by this name
    before = files_of(catalog.store.folder)
    with pytest.raises(CatalogError) as caught:
        catalog.ask(REFUSED[what].replace("{store}", str(catalog.store.folder)))
    says(caught.value)
    assert a_table_of_python.height == 1
    assert files_of(catalog.store.folder) == before
    heights = [catalog.query(f"FROM {table}").height for table in ("samples", "runs", "tags")]
    assert heights == [60, 0, 0]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1", [(1,)]),
        ("  select 1 ; ", [(1,)]),
        ("SELECT 1 -- a comment", [(1,)]),
        ("SELECT ';--' /* ; */", [(";--",)]),
        ("FROM samples SELECT row ORDER BY row DESC LIMIT 2", [(59,), (58,)]),
        ("WITH x AS (SELECT 3) SELECT * FROM x", [(3,)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("SELECT 1 AS a, 2 AS a", [(1, 2)]),
        ("SELECT count(*) FROM samples WHERE source = 'o''asst'", [(15,)]),
        ("SELECT NULL WHERE false", []),
        ("SELECT '\udcff'", [("?",)]),  # a byte of the command line that was no UTF-8
    ],
)
def test_one_select_of_any_form_is_answered(catalog, sql, rows):
    assert catalog.ask(sql).rows() == rows


def test_answers_keep_their_order_and_end_at_the_limit(catalog):
    sql = "SELECT row FROM samples ORDER BY n_tokens DESC, row"
    whole = catalog.ask(sql)["row"].to_list()
    assert len(whole) == 60
    assert catalog.ask(sql, limit=7)["row"].to_list() == whole[:7]
    assert catalog.ask("FROM range(5000)").height == 1000


def test_a_slow_query_is_stopped_and_the_next_one_answered(catalog, says):
    begin = time.monotonic()
    with pytest.raises(CatalogError) as caught:
        catalog.ask("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3", seconds=0.3)
    assert time.monotonic() - begin < 5
    says(caught.value, "0.3 s", "Narrow")
    assert catalog.ask("SELECT 1").height == 1
    timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
    for timer in timers:
        timer.join(5)
    assert not any(timer.is_alive() for timer in timers)  # none left to interrupt a later query


def test_a_query_larger_than_memory_writes_nothing(catalog, tmp_path, monkeypatch):
    assert catalog.ask("SELECT current_setting('temp_directory') AS t")["t"].item() == ""


def test_gradient_is_the_stores_row(catalog):
    found = catalog.ask("SELECT row, gradient(row, 'step-10') AS g FROM samples ORDER BY row")
    wanted = np.concatenate([catalog.store.part_rows(p, 1)[0] for p in range(4)])
    assert np.array_equal(np.array(found["g"].to_list(), np.float32), wanted.astype(np.float32))


@pytest.mark.parametrize("call", ["-1, 'step-0'", "60, 'step-0'", "NULL, 'step-0'", "1, 'no'"])
def test_gradient_of_nothing_is_null(catalog, call):
    assert catalog.ask(f"SELECT gradient({call}) AS g")["g"].to_list() == [None]
    mixed = catalog.ask(f"SELECT gradient(0, 'step-0') AS a, gradient({call}) AS g")
    assert mixed["a"].null_count() == 0


CONDITIONS = {
    "source = 'o''asst'": lambda i: i % 4 == 2,
    "source = 'flan' AND n_tokens < 20": lambda i: i % 4 in (0, 3) and 5 + i * 7 % 40 < 20,
    "row < 5 OR row > 57": lambda i: i < 5 or i > 57,
    "row < 5 -- but not 7": lambda i: i < 5,
    "row < 5 /* ) */": lambda i: i < 5,
    "prompt LIKE '%🎉%;%--%'": lambda i: True,
    "row IN (SELECT row FROM health WHERE NOT valid)": lambda i: i in INVALID,
    "gradient(row, 'step-0')[1] > 2": lambda i: False,
    "true": lambda i: True,
    "NULL": lambda i: False,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_keeps_the_rows_that_meet_it(catalog, condition):
    wanted = [i for i in range(60) if CONDITIONS[condition](i)]
    assert sorted(catalog.rows_where(condition).tolist()) == wanted


@pytest.mark.parametrize(
    "condition",
    [
        "true) UNION ALL SELECT 999999 FROM samples WHERE (true",
        "true) UNION ALL SELECT -1 --",
        "true); DROP TABLE runs; --",
        "1 = 1; SELECT 1",
        "true) OR (SELECT 1) = (1",
        "]; SELECT [",
        "true /*",
        "row <",
        "",
        " ",
        "row, row",
        "nothing = 1",
        "prompt",
        "source = 'flan",
        "x for x in [1]",
        "'\x00'",
    ],
)
def test_a_condition_that_is_none_is_refused(catalog, says, condition):
    with pytest.raises(CatalogError) as caught:
        catalog.rows_where(condition)
    says(caught.value)
