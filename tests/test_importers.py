"""Promises of gtp_core.importers, held over every format: a correct store, or one sentence."""

import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import MAKERS, make_arrays, make_less, save_matrix, some_rows, write_samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gtp_core
from gtp_core.catalog import open_catalog
from gtp_core.cli import main
from gtp_core.errors import GTPError, SourceError, StoreError
from gtp_core.importers import IMPORTERS, Asked, dattri, guess, import_store, label, survey, writing
from gtp_core.report import checks, store_facts
from gtp_core.store import open_store

ROOT = Path(gtp_core.__file__).resolve().parent.parent


def stored_rows(store, checkpoint: int, task: str | None = None) -> np.ndarray:
    """Unit rows times norms: what a store remembers of the raw rows."""
    parts = range(len(store.manifest.parts))
    found = [store.part_rows(p, checkpoint) for p in parts]
    if task:
        found = [store.task_rows(task, checkpoint)]
    return np.concatenate([u.astype(float) * n[:, None].astype(float) for u, n in found])


def assert_same_rows(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal to the precision of float16 unit rows."""
    assert found.shape == wanted.shape
    length = np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(found - wanted).max(initial=0.0) <= 2.0**-11 * length.max()
    assert (np.abs(found - wanted) <= 2.0**-11 * np.maximum(length, 1e-30)).all()


def assert_is(store, source) -> None:
    """A store holds exactly what a source held, at every checkpoint and in every task."""
    names = sorted(source.rows, key=lambda name: int(name.partition("-")[2] or 0))
    assert [c.name for c in store.checkpoints] == names
    for t, checkpoint in enumerate(store.checkpoints):
        assert_same_rows(stored_rows(store, t), source.rows[checkpoint.name])
        for task, rows in source.tasks.items():
            assert_same_rows(stored_rows(store, t, task), rows[checkpoint.name])
    assert sorted(store.task_names) == sorted(source.tasks)


def state_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder: when it changed, and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
        )
        for path in sorted(folder.rglob("*"))
    }


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


# --- the contract ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_store_holds_what_the_source_held_and_the_source_stays_as_it_was(name, tmp_path):
    source = MAKERS[name](tmp_path / "from")
    for path in source.folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state_of(tmp_path / "from")
    plan = survey(name, source.folder, source.asked)
    assert left_behind(tmp_path) == ["from"]
    store = import_store(plan, tmp_path / "to" / "store")
    assert state_of(tmp_path / "from") == before
    assert left_behind(tmp_path / "to") == ["store"]
    assert not list(store.folder.glob("*.jsonl"))
    assert_is(store, source)
    assert store.verify() > 0
    assert store.manifest.producer["format"] == name
    assert guess(source.folder) == name
    for path in source.folder.rglob("*"):
        path.chmod(0o755)


@pytest.mark.parametrize("name", IMPORTERS)
def test_records_ids_and_subtasks_keep_their_order(name, tmp_path):
    source = MAKERS[name](tmp_path / "from")
    store = import_store(survey(name, source.folder, source.asked), tmp_path / "store")
    files = [Path(text) for text in source.asked.samples] or sorted(
        (tmp_path / "from").rglob("all20.jsonl" if name == "bergson" else "samples.jsonl")
    )
    lines = [line for path in files for line in path.read_text("utf-8").split("\n") if line]
    found = store.samples().collect()
    assert found["sample_id"].to_list() == [json.loads(line)["id"] for line in lines]
    records = found["record"].to_list()
    if name == "bergson":  # Arrow keeps the fields, not the line
        assert [json.loads(r)["messages"] for r in records] == [
            json.loads(line)["messages"] for line in lines
        ]
    else:
        assert records == lines
    for task in store.task_names:
        told = store.examples(task)["subtask"].unique(maintain_order=True).to_list()
        assert list(store.task(task).subtasks) == told


@pytest.mark.parametrize("name", IMPORTERS)
def test_the_same_import_gives_the_same_bytes(name, tmp_path, monkeypatch):
    source = MAKERS[name](tmp_path / "from")
    monkeypatch.setattr(writing, "_MOST_ROWS", 6)
    plan = survey(name, source.folder, source.asked)
    one, two = (import_store(plan, tmp_path / name) for name in ("one", "two"))
    assert len(one.manifest.parts) > 1
    assert one.store_id == two.store_id
    assert [s for _, s in state_of(one.folder).values()] == [
        s for _, s in state_of(two.folder).values()
    ]
    assert_is(one, source)


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_format_has_a_label_and_refuses_an_empty_folder_and_no_folder(name, tmp_path, says):
    assert label(name)
    assert not label(name).endswith(".")
    for folder in (tmp_path, tmp_path / "none", Path("x" * 5000)):
        with pytest.raises(SourceError) as error:
            survey(name, folder)
        says(error.value)


def test_an_unknown_format_is_refused(tmp_path, says):
    with pytest.raises(SourceError) as error:
        survey("loss", tmp_path)
    says(error.value, "'loss'", "bergson")
    assert guess(tmp_path) is None


# --- where the store goes ---------------------------------------------------------------------


def test_a_taken_folder_and_the_source_itself_are_refused(tmp_path, says):
    source = make_arrays(tmp_path)
    plan = survey("arrays", source.folder, source.asked)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("keep")
    for out in (tmp_path / "taken", source.folder / "store", tmp_path / "taken" / "mine"):
        with pytest.raises(SourceError) as error:
            import_store(plan, out)
        says(error.value, "Choose another")
    assert left_behind(tmp_path / "taken") == ["mine"]
    (tmp_path / "empty").mkdir()
    assert_is(import_store(plan, tmp_path / "empty"), source)


def test_repeated_ids_leave_nothing_behind(tmp_path, says, monkeypatch):
    source = make_arrays(tmp_path / "from")
    monkeypatch.setattr(writing, "_MOST_ROWS", 6)
    path = source.folder / "samples.jsonl"
    lines = path.read_text("utf-8").split("\n")
    path.write_text("\n".join([*lines[:19], lines[3], ""]), encoding="utf-8")
    plan = survey("arrays", source.folder, source.asked)
    with pytest.raises(StoreError) as error:
        import_store(plan, tmp_path / "to" / "store")
    says(error.value, "tiny_3")
    assert left_behind(tmp_path / "to") == []
    plan = survey("arrays", source.folder, replace(source.asked, ids="line"))
    store = import_store(plan, tmp_path / "to" / "store")
    assert store.samples().collect()["sample_id"][19] == "samples-19"


class _StopError(Exception):
    """What a test throws from the progress."""


def stop_after(rows: int):
    def report(done: int, total: int, what: str) -> None:
        if done >= rows:
            raise _StopError

    return report


def test_a_stopped_import_goes_on_where_it_was(tmp_path, monkeypatch):
    source = make_less(tmp_path / "from")
    monkeypatch.setattr(writing, "_MOST_ROWS", 6)
    plan = survey("less", source.folder, source.asked)
    whole = import_store(plan, tmp_path / "whole")
    with pytest.raises(_StopError):
        import_store(plan, tmp_path / "store", progress=stop_after(12))
    work = tmp_path / ".store.importing"
    kept = state_of(work / "gradients")
    assert len(kept) == 3 * (1 + 2)
    (work / "import.jsonl").write_bytes((work / "import.jsonl").read_bytes() + b'{"name": "par')
    store = import_store(plan, tmp_path / "store")
    assert store.store_id == whole.store_id
    assert_is(store, source)
    assert {k: v[0] for k, v in state_of(store.folder / "gradients").items() if k in kept} == {
        k: v[0]
        if not k.startswith("step") or "/" in k
        else state_of(store.folder / "gradients")[k][0]
        for k, v in kept.items()
    }
    assert store.manifest.invalid == whole.manifest.invalid


def test_other_flags_begin_again(tmp_path, monkeypatch):
    source = make_less(tmp_path / "from")
    monkeypatch.setattr(writing, "_MOST_ROWS", 6)
    plan = survey("less", source.folder, source.asked)
    with pytest.raises(_StopError):
        import_store(plan, tmp_path / "store", progress=stop_after(12))
    other = survey("less", source.folder, replace(source.asked, rows="normalised"))
    store = import_store(other, tmp_path / "store")
    assert np.abs(store.norms() - 1).max() < 0.01


def test_a_second_import_to_the_same_place_waits_and_spoils_nothing(tmp_path, says):
    source = make_arrays(tmp_path / "from")
    plan = survey("arrays", source.folder, source.asked)

    def again(done: int, total: int, what: str) -> None:
        with pytest.raises(SourceError) as error:
            import_store(plan, tmp_path / "store")
        says(error.value, "another import")

    assert_is(import_store(plan, tmp_path / "store", progress=again), source)


KILLED = """
import sys, time
from gtp_core.importers import Asked, import_store, survey, writing
writing._MOST_ROWS = 10
def report(done, total, what):
    print(done, flush=True)
    time.sleep(0.05)
plan = survey("arrays", sys.argv[1], Asked(step_size=("all=1",)))
print(import_store(plan, sys.argv[2], progress=report).store_id)
"""


def test_a_killed_import_is_absent_and_goes_on(tmp_path):
    source = tmp_path / "from"
    write_samples(source / "samples.jsonl", 400)
    for step in (1, 2):
        save_matrix(source / f"step-{step}.npy", some_rows(400, step))
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "store")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seen = [int(process.stdout.readline()) for _ in range(7)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert seen == [10 * i for i in range(1, 8)]
    assert not (tmp_path / "store").exists()
    first = tmp_path / ".store.importing" / "gradients" / "step-1" / "part-00002.safetensors"
    before = first.stat().st_mtime_ns
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    store = open_store(tmp_path / "store")
    assert done.stdout.split()[-1] == store.store_id
    after = store.folder / "gradients" / "step-1" / "part-00002.safetensors"
    assert after.stat().st_mtime_ns == before
    assert left_behind(tmp_path) == ["from", "store"]
    assert_same_rows(stored_rows(store, 0), some_rows(400, 1))
    assert store.verify() == 3 * 40


# --- what is in the rows ----------------------------------------------------------------------


def test_useless_rows_are_flagged_and_declared_facts_are_shown(tmp_path):
    source = make_arrays(tmp_path / "from")
    rows = source.rows["step-9"].copy()
    rows[2], rows[4, 3], rows[6, 0] = 0.0, np.nan, np.inf
    rows[11] = rows[12]  # texts differ: as if both completions had been cut away
    save_matrix(source.folder / "step-9.npy", rows)
    asked = replace(source.asked, model="me/model", projection="rademacher", sample_kind="adam")
    store = import_store(survey("arrays", source.folder, asked), tmp_path / "store")
    assert store.manifest.invalid == {"zero": 1, "nan": 1, "inf": 1}
    assert store.manifest.declared["model"] == "me/model"
    assert store.manifest.gradients["samples"] == "adam"
    with closing(open_catalog(store)) as catalog:
        texts = [check.text for check in checks(store_facts(catalog))]
        assert not catalog.valid()[[2, 4, 6]].any()
    assert any("Declared by the user" in text and "model me/model" in text for text in texts)
    assert any("2 samples share their gradient" in text for text in texts)
    assert any("Token counts are estimates" in text for text in texts)
    assert any(text.startswith("3 samples") for text in texts)


def test_what_nobody_says_is_asked_for_and_a_contradiction_is_refused(tmp_path, says):
    source = MAKERS["bergson"](tmp_path)
    plan = survey("bergson", source.folder, source.asked)
    assert plan.unsaid == ("input_dim (--input-dim)",)
    assert plan.model == {"id": "checkpoint"}
    plan = survey("bergson", source.folder, replace(source.asked, input_dim=4096))
    assert plan.declared["input_dim"] == 4096
    assert plan.unsaid == ()
    with pytest.raises(SourceError) as error:
        survey("bergson", source.folder, replace(source.asked, projection="normal"))
    says(error.value, "--projection", "'rademacher'")


@pytest.mark.parametrize("name", IMPORTERS)
def test_another_number_of_samples_than_rows_is_refused(name, tmp_path, says):
    source = MAKERS[name](tmp_path / "from")
    texts = tmp_path / "fewer.jsonl"
    write_samples(texts, 8)
    told = [str(texts)]
    if name == "less":
        told = [f"alpha={texts}", f"beta={source.asked.samples[1]}"]
    with pytest.raises(SourceError) as error:
        survey(name, source.folder, replace(source.asked, samples=tuple(told)))
    says(error.value, "8 ")


# --- hostile and broken sources ---------------------------------------------------------------


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("name", ["less", "arrays"])
def test_a_hostile_pickle_is_refused_and_executes_nothing(name, as_zip, tmp_path, says):
    source = MAKERS["less"](tmp_path) if name == "less" else make_arrays(tmp_path, ".pt")
    (path,) = [p for p in source.damage if p.suffix == ".pt"][:1]
    trap = tmp_path / "owned"
    if as_zip:
        torch.save(_Hostile(trap), path)
    else:
        path.write_bytes(pickle.dumps(_Hostile(trap)))
    pickle.loads(pickle.dumps(_Hostile(tmp_path / "works")))
    assert (tmp_path / "works").is_dir()
    with pytest.raises(SourceError) as error:
        import_store(survey(name, source.folder, source.asked), tmp_path / "store")
    says(error.value, path.name, "Nothing of it was run")
    assert not trap.exists()
    assert not (tmp_path / "store").exists()


@pytest.fixture(scope="module")
def kept_sources(tmp_path_factory):
    """One source of every format, made once; tests put every byte back."""
    return {name: MAKERS[name](tmp_path_factory.mktemp(name)) for name in MAKERS}


@pytest.mark.parametrize("name", IMPORTERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_source_gives_a_correct_store_or_one_sentence(name, kept_sources, says, data):
    source = kept_sources[name]
    path = data.draw(st.sampled_from(list(source.damage)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = data.draw(st.integers(0, 255))  # 0: cut here
    broken = bytearray(whole[:at] if flipped == 0 else whole)
    if flipped:
        broken[at] ^= flipped
    path.write_bytes(broken)
    try:
        with tempfile.TemporaryDirectory() as folder:
            store, error = None, None
            try:
                plan = survey(name, source.folder, source.asked)
                store = import_store(plan, Path(folder) / "store")
            except GTPError as raised:
                error = raised
            assert left_behind(Path(folder)) == (["store"] if store else [])
            if store:
                assert_close_to(store, source)
            else:
                says(error)
    finally:
        path.write_bytes(whole)


def assert_close_to(store, source) -> None:
    """Correct but for the one byte that was flipped: a number, a text, or what nobody reads."""
    assert store.verify() > 0
    assert store.n_samples == len(next(iter(source.rows.values())))
    wrong = 0
    for t, checkpoint in enumerate(store.checkpoints):
        wanted = source.rows.get(checkpoint.name)
        if wanted is None:  # the byte was in a name or a step
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            found = stored_rows(store, t)
            off = ~(np.abs(found - wanted) <= 2.0**-9 * np.linalg.norm(wanted, axis=1)[:, None])
        wrong += int(off.any(axis=1).sum())
    assert wrong <= (1 if store.manifest.producer["format"] != "trak" else store.n_samples)


# --- the command and the room -----------------------------------------------------------------


def test_the_command_previews_writes_and_refuses(tmp_path, capsys):
    source = make_arrays(tmp_path)
    command = ["import", "arrays", str(source.folder), "--step-size", "all=1"]
    assert main([*command, "--preview"]) == 0
    assert "20 samples" in capsys.readouterr().out
    assert main([*command, "--out", str(tmp_path / "store"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["n_samples"] == 20
    assert [t["task"] for t in answer["tasks"]] == ["dates", "maths"]
    assert answer["store_id"] == open_store(tmp_path / "store").store_id
    for wrong in ([*command], [*command[:3], "--preview"], [*command, "--dim", "x", "--preview"]):
        assert main(wrong) == 2
        found = capsys.readouterr()
        assert found.err.startswith("gtp: ")
        assert found.err.count("\n") == 1
        assert not found.out


def test_torch_is_loaded_only_where_a_torch_file_is(tmp_path):
    source = MAKERS["bergson"](tmp_path)
    asked = f"Asked(task={source.asked.task!r}, step_size=('all=1',))"
    code = (
        "import sys; from gtp_core.importers import *; "
        f"import_store(survey('bergson', {str(source.folder)!r}, {asked}), {str(tmp_path / 's')!r})"
        "; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_memory_does_not_grow_with_the_source(tmp_path):
    """655 MB of rows, four parts: far less than that is ever resident beside the libraries."""
    source = tmp_path / "from"
    n, dim = 20_000, 8_192
    write_samples(source / "samples.jsonl", n)
    matrix = np.lib.format.open_memmap(source / "step-1.npy", "w+", np.float32, (n, dim))
    matrix[:] = np.arange(dim, dtype=np.float32) - np.arange(n, dtype=np.float32)[:, None]
    del matrix
    code = (
        "import sys; from gtp_core.importers import *; "
        "plan = survey('arrays', sys.argv[1]); import_store(plan, sys.argv[2]); "
        # Not ru_maxrss, which a process inherits from the one that started it.
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path / "store")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 600_000  # kB
    store = open_store(tmp_path / "store")
    assert store.n_samples == n
    unit, norm = store.part_rows(1, 0)
    row = np.arange(dim, dtype=float) - store.manifest.parts[0].rows
    assert norm[0] == pytest.approx(np.linalg.norm(row))
    assert np.abs(unit[0] - row / np.linalg.norm(row)).max() < 1e-4


def section(heading: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"^(#+) {heading}\n(.*?)(?=^\1 |\Z)", text, re.S | re.M)[2]


def test_the_readme_names_every_format_and_only_flags_that_exist(capsys):
    told = re.findall(r"^\| `(\S+)` \| (.*?) \| ", section("Import"), re.M)
    assert told == [(name, label(name)) for name in IMPORTERS]
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    known = capsys.readouterr().out
    flags = set(re.findall(r"--[a-z][a-z-]+", section("Import"))) - {"--help", "--format"}
    assert [flag for flag in flags if flag not in known] == []


def test_the_importer_of_the_readme_works(tmp_path):
    code = re.search(r"```python\n(.*?)```", section("Add an importer"), re.S)[1]
    before = set(IMPORTERS)
    exec(compile(code, "README.md", "exec"), dict(vars(dattri)))
    (name,) = set(IMPORTERS) - before
    try:
        np.save(tmp_path / "rows.npy", some_rows(5, 1))
        write_samples(tmp_path / "pool.jsonl", 5)
        asked = Asked(samples=(str(tmp_path / "pool.jsonl"),))
        store = import_store(survey(name, tmp_path, asked), tmp_path.parent / "of-the-readme")
        assert_same_rows(stored_rows(store, 0), some_rows(5, 1))
    finally:
        del IMPORTERS[name]
