"""Promises of gtp_core.store: what is written comes back, and nothing damaged is ever taken."""

import json
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import (
    DUPLICATES,
    INVALID,
    build_store,
    edit_manifest,
    example_table,
    sample_table,
    swap,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from gtp_core.errors import GTPError, StoreError, TaskError
from gtp_core.store import Checkpoint, StoreWriter, open_store, sha256, unit_rows, written_whole
from gtp_core.store.files import write_rows
from gtp_core.store.manifest import store_id_of
from gtp_core.store.narrow import narrow
from gtp_core.store.seen import SeenIds

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.text(max_size=12)


def writer_at(folder: Path, *, dim: int = 3, names=("c0",), **change) -> StoreWriter:
    what = {
        "name": "toy",
        "dim": dim,
        "checkpoints": [Checkpoint(c, i, 0.5 + i) for i, c in enumerate(names)],
        "gradients": {"samples": "sgd", "tasks": "sgd"},
        "projection": {"type": "none", "dim": dim},
        "model": {"id": "m"},
        "producer": {"name": "tests"},
    }
    return StoreWriter(folder, **(what | change))


def tiny(folder: Path):
    writer = writer_at(folder, dim=2)
    writer.add_part(sample_table(range(3)), {"c0": np.arange(1.0, 7.0).reshape(3, 2)})
    writer.add_task("t", example_table("t", {"": 1}), {"c0": np.ones((1, 2))})
    return writer.finish()


# --- what is written comes back --------------------------------------------------------------


@FEW
@given(data=st.data())
def test_round_trip_of_any_shape_and_text(data):
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any))
    n, dim = sum(sizes), data.draw(st.integers(1, 9))
    names = data.draw(
        st.lists(st.from_regex(r"[a-z0-9][a-z._-]{0,5}", fullmatch=True), min_size=1, unique=True)
    )[:3]
    column = st.lists(TEXT, min_size=n, max_size=n)
    table = pl.DataFrame(
        {
            "sample_id": data.draw(st.lists(TEXT, min_size=n, max_size=n, unique=True)),
            **{name: data.draw(column) for name in ("source", "prompt", "completion")},
            "n_tokens": data.draw(st.lists(st.integers(0, 2**40), min_size=n, max_size=n)),
            "record": data.draw(column),
        }
    )
    raw = np.random.default_rng(n).standard_normal((len(names), n, dim))
    with tempfile.TemporaryDirectory() as folder:
        writer, start = writer_at(Path(folder), dim=dim, names=names), 0
        for size in sizes:
            part = {c: raw[i, start : start + size] for i, c in enumerate(names)}
            writer.add_part(table.slice(start, size), part)
            start += size
        writer.finish()
        store = open_store(folder)
        assert store.samples().collect().equals(table)
        assert store.verify() == len(sizes) * (1 + len(names))
        for i in range(len(names)):
            parts = [store.part_rows(p, i) for p in range(len(sizes))]
            units, norms = (np.concatenate(x) for x in zip(*parts, strict=True))
            assert np.allclose(units * norms[:, None], raw[i], rtol=2e-3, atol=2e-3)
            assert np.allclose(store.norms()[:, i], np.linalg.norm(raw[i], axis=1), rtol=1e-6)


def test_same_input_gives_the_same_bytes(tmp_path):
    one, two = build_store(tmp_path / "one"), build_store(tmp_path / "two")
    files = sorted(p.relative_to(one.folder) for p in one.folder.rglob("*") if p.is_file())
    assert len(files) == 1 + 4 * 4 + 2 * 4
    assert all((one.folder / f).read_bytes() == (two.folder / f).read_bytes() for f in files)
    assert (one.store_id, one.digest) == (two.store_id, two.digest)


def test_another_store_has_another_id(small_store):
    one, two = small_store("a"), small_store("b", seed=1)
    assert one.store_id.startswith("small-")
    assert one.store_id != two.store_id
    assert one.digest != two.digest


def test_gradient_files_are_plain_safetensors(small_store):
    """Any tool can read them: the public library sees the same numbers as the memory map."""
    from safetensors.numpy import load_file

    store = small_store()
    loaded = load_file(store.folder / store.manifest.parts[2].files[2].path)
    unit, norm = store.part_rows(2, 1)
    assert set(loaded) == {"unit", "norm"}
    assert loaded["unit"].dtype == np.float16
    assert np.array_equal(loaded["unit"], unit)
    assert np.array_equal(loaded["norm"], norm, equal_nan=True)


def test_temporary_files_never_stay(small_store):
    assert not list(small_store().folder.rglob("*.tmp"))


def test_written_whole_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with written_whole(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise RuntimeError
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_folder_names_with_wildcards_are_only_names(tmp_path):
    store = build_store(tmp_path / "pool [v2] *é?")
    assert store.samples().collect().height == 60
    assert store.examples("dates").height == 4


# --- unit rows and norms ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-3, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows_have_length_one_whatever_the_scale(scale, dtype):
    largest = float(np.finfo(dtype).max)
    rows = np.random.default_rng(0).standard_normal((20, 300)) * scale
    rows = rows.clip(-largest, largest).astype(dtype)
    unit, norm = unit_rows(rows)
    wanted = np.linalg.norm(rows.astype(np.float64), axis=1)
    alive = wanted > 1e-44
    assert unit.dtype == np.float16
    assert norm.dtype == np.float32
    assert np.allclose(norm, wanted, rtol=1e-6, atol=2e-45)
    assert np.allclose(np.linalg.norm(unit[alive].astype(np.float64), axis=1), 1, atol=1e-3)


def test_unit_rows_flag_what_cannot_be_used_and_leave_their_input_alone():
    raw = np.array([[0, 0], [np.nan, 1], [np.inf, 1], [-np.inf, np.inf], [1e300, 1], [3, 4.0]])
    before = raw.copy()
    raw.flags.writeable = False
    unit, norm = unit_rows(raw)
    assert np.array_equal(raw, before, equal_nan=True)
    assert not unit[:5].any()
    assert norm[0] == 0
    assert np.isnan(norm[1])
    assert not np.isfinite(norm[2:5]).any()
    assert (unit[5].tolist(), norm[5]) == ([np.float16(0.6), np.float16(0.8)], 5)


def test_invalid_rows_are_counted_and_kept(small_store):
    store = small_store()
    assert store.n_samples == 60
    assert store.manifest.invalid == {"zero": 1, "nan": 1, "inf": 1}
    bad = ~np.all(np.isfinite(store.norms()) & (store.norms() > 0), axis=1)
    assert np.flatnonzero(bad).tolist() == sorted(INVALID)


def test_duplicate_rows_are_stored_as_equal_rows(small_store):
    store = small_store(part_rows=(60,))
    unit, _ = store.part_rows(0, 0)
    assert all(np.array_equal(unit[a], unit[b]) for a, b in DUPLICATES.items())


# --- opening costs nothing -------------------------------------------------------------------


def read_so_far() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's /proc")
def test_opening_maps_gradients_and_reads_none(small_store):
    store = small_store(n=400, dim=2048, part_rows=(400,), step_sizes=(1.0,), tasks={})
    before = read_so_far()
    unit, norm = open_store(store.folder).part_rows(0, 0)
    assert read_so_far() - before < unit.nbytes / 50
    assert isinstance(unit, np.memmap)
    assert isinstance(norm, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        unit[0, 0] = 1


# --- refusals --------------------------------------------------------------------------------


def cut(path: Path, by: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def keep_size(path: Path, **change) -> None:
    """Rewrite a safetensors header in place, padded to its old length."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    for name, entry in change.items():
        header[name] = header[name] | entry if isinstance(entry, dict) else entry
    text = json.dumps(header, separators=(",", ":")).encode().ljust(size)
    assert len(text) == size
    path.write_bytes(raw[:8] + text + raw[8 + size :])


PART = "gradients/step-10/part-00000.safetensors"
DAMAGE = {
    "no folder": (lambda f: f.rename(f.with_name("gone")), "is not a folder", "Give"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json", "Give"),
    "cut manifest": (lambda f: cut(f / "manifest.json", 9), "is not JSON", "Restore"),
    "missing part": (lambda f: (f / PART).unlink(), PART, "missing", "Restore"),
    "missing samples": (lambda f: (f / "samples/part-00002.parquet").unlink(), "missing"),
    "missing task": (lambda f: (f / "tasks/maths/step-0.safetensors").unlink(), "missing"),
    "short part": (lambda f: cut(f / PART), "bytes", "wants", "Restore"),
    "long part": (lambda f: append(f / PART), "bytes", "wants", "Restore"),
    "swapped parts": (
        lambda f: swap(f / PART, f / "gradients/step-10/part-00002.safetensors"),
        "bytes",
        "wants",
    ),
    "renamed part": (lambda f: (f / PART).rename(f / (PART + ".old")), "missing"),
    "part is a folder": (lambda f: ((f / PART).unlink(), (f / PART).mkdir()), PART),
    "other type": (lambda f: keep_size(f / PART, unit={"dtype": "I16"}), "I16", "F16"),
    "other shape": (lambda f: keep_size(f / PART, unit={"shape": [16, 25]}), "(16, 25)"),
    "no dtype": (lambda f: keep_size(f / PART, unit=0), "unit"),
    "no tensor": (lambda f: keep_size(f / PART, norm=[]), "norm"),
    "moved tensor": (lambda f: keep_size(f / PART, unit={"data_offsets": [4, 804]}), PART),
    "negative offset": (lambda f: keep_size(f / PART, norm={"data_offsets": [-9, 91]}), PART),
    "nested header": (
        lambda f: (f / PART).write_bytes(struct.pack("<Q", 500) + b"[" * (f / PART).stat().st_size),
        PART,
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_opening_refuses_damage_in_one_sentence(small_store, says, damage):
    folder = small_store().folder
    harm, *parts = DAMAGE[damage]
    harm(folder)
    with pytest.raises(StoreError) as caught:
        open_store(folder)
    says(caught.value, *parts)


def first(document, *path):
    for step in path:
        document = document[step]
    return document


MANIFESTS = {
    "version 2": (lambda m: m.update(format_version=2), "format version 2", "reads 1"),
    "version true": (lambda m: m.update(format_version=True), "format version True"),
    "version text": (lambda m: m.update(format_version="1"), "format version '1'"),
    "no version": (lambda m: m.pop("format_version"), "format version None"),
    "unknown field": (lambda m: m.update(extra=1), "extra"),
    "missing field": (lambda m: m.pop("projection"), "projection"),
    "other projection": (
        lambda m: m["tasks"][0].update(projection={"type": "none"}),
        "'maths' was projected with",
        "cannot be compared",
    ),
    "other checkpoints": (
        lambda m: m["tasks"][1]["files"].pop(),
        "'dates' was not collected at the samples' checkpoints",
        "step-0, step-10, step-20",
    ),
    "other order": (lambda m: m["parts"][0]["files"].reverse(), "part-00000"),
    "part twice": (lambda m: m["parts"].__setitem__(1, m["parts"][0]), "share a name"),
    "task twice": (lambda m: m["tasks"].append(m["tasks"][0]), "share a name"),
    "checkpoint twice": (lambda m: m["checkpoints"].append(m["checkpoints"][0]), "share a name"),
    "rows differ": (lambda m: m.update(n_samples=61), "60", "61"),
    "no parts": (lambda m: m.update(parts=[], n_samples=0), "0 samples"),
    "no checkpoints": (lambda m: m.update(checkpoints=[]), "no checkpoint"),
    "no dim": (lambda m: m.update(dim=0), "dim is 0"),
    "dtype": (lambda m: m.update(dtype="float32"), "float32", "float16"),
    "step size": (lambda m: m["checkpoints"][0].update(step_size=-1.0), "step size"),
    "huge step size": (lambda m: m["checkpoints"][0].update(step_size=10**400), "step size"),
    "sum overflows": (
        lambda m: [c.update(step_size=1.5e308) for c in m["checkpoints"]],
        "step size",
    ),
    "all zero": (lambda m: [c.update(step_size=0) for c in m["checkpoints"]], "zero"),
    "name": (lambda m: m["checkpoints"][0].update(name="../../etc"), "'../../etc'"),
    "traversal by task": (lambda m: m["tasks"][0].update(name="../x"), "'../x'"),
    "traversal by part": (
        lambda m: (
            m["parts"][0].update(name="../../x"),
            m["parts"][0]["files"][0].update(path="samples/../../x.parquet"),
        ),
        "part",
    ),
    "traversal by path": (
        lambda m: m["parts"][0]["files"][0].update(path="/etc/passwd"),
        "part-00000",
    ),
    "bytes": (lambda m: m["parts"][0]["files"][1].update(bytes="many"), "bytes"),
    "checksum": (lambda m: m["parts"][0]["files"][1].update(sha256=7), "SHA-256"),
    "huge shape": (
        lambda m: (m.update(n_samples=2**62 + 35), m["parts"][0].update(rows=2**62)),
        "step-0/part-00000",
    ),
}


@pytest.mark.parametrize("change", MANIFESTS)
def test_opening_refuses_a_wrong_manifest_in_one_sentence(small_store, says, change):
    folder = small_store().folder
    harm, *parts = MANIFESTS[change]
    edit_manifest(folder, harm)
    with pytest.raises(StoreError) as caught:
        open_store(folder)
    says(caught.value, *parts)


def test_a_manifest_changed_after_it_was_finished_is_refused(small_store, says):
    folder = small_store().folder
    edit_manifest(folder, lambda m: m["checkpoints"][0].update(step_size=0.25), same_id=True)
    with pytest.raises(StoreError) as caught:
        open_store(folder)
    says(caught.value, "small-", "Restore")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"x"',
        "{}",
        "NaN",
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
        "\x00",
    ],
)
def test_odd_json_is_refused(small_store, says, text):
    folder = small_store().folder
    (folder / "manifest.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        open_store(folder)
    says(caught.value, "manifest.json")


def leaves(node, path=()):
    """Every place in a document, inner ones included."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items if isinstance(node, dict | list) else ():
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


ODD = (None, -1, True, 1.5, 10**400, float("nan"), "", "\ud800", "a/../b", [], {}, [[]])


def test_any_field_of_any_type_is_a_store_or_one_sentence(tmp_path, says):
    folder = tiny(tmp_path / "s").folder
    whole = json.loads((folder / "manifest.json").read_text())
    opened = refused = 0
    for path in leaves(whole):
        for odd in ODD if path else ():
            document = json.loads(json.dumps(whole))
            first(document, *path[:-1])[path[-1]] = odd
            if path != ("store_id",):
                document["store_id"] = f"toy-{store_id_of(document).rsplit('-', 1)[1]}"
            (folder / "manifest.json").write_text(json.dumps(document))
            try:
                store = open_store(folder)
            except StoreError as error:
                says(error)
                refused += 1
            else:
                assert store.norms().shape == (3, 1)
                assert store.samples().collect().height == 3
                assert [store.examples(t).height for t in store.task_names] in ([], [1])
                opened += 1
    assert refused > 300
    assert opened > 50  # what the manifest only repeats: model, producer, declared


def test_a_flipped_bit_in_the_manifest_is_never_another_store(tmp_path):
    store = tiny(tmp_path / "s")
    path = store.folder / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place, place * 5 % 8))
        try:
            assert open_store(store.folder).manifest == store.manifest
        except StoreError:
            continue


def test_a_flipped_bit_in_a_gradient_header_never_gives_other_numbers(tmp_path):
    store = tiny(tmp_path / "s")
    path = store.folder / store.manifest.parts[0].files[1].path
    wanted = [x.tobytes() for x in store.part_rows(0, 0)]
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for place in range(header * 8):
        path.write_bytes(flipped(whole, place // 8, place % 8))
        try:
            assert [x.tobytes() for x in store.part_rows(0, 0)] == wanted
        except StoreError:
            continue


def flipped(raw: bytes, place: int, bit: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


def test_verify_names_the_file_whose_bytes_differ(small_store, says):
    store = small_store()
    seen = []
    assert store.verify(lambda done, total, what: seen.append((done, total, what))) == 24
    assert [done for done, _, _ in seen] == list(range(24))
    path = store.folder / PART
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size - 1, 0))
    open_store(store.folder)  # sizes agree: opening does not read gradients
    with pytest.raises(StoreError) as caught:
        store.verify()
    says(caught.value, PART, "SHA-256", "wants", "Restore")
    path.unlink()
    with pytest.raises(StoreError):
        store.verify()


def test_damaged_tables_are_one_sentence(small_store, says):
    store = small_store()
    path = store.folder / "tasks/maths/examples.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(StoreError) as caught:
        open_store(store.folder).examples("maths")
    says(caught.value, "examples.parquet", "Restore")


def test_an_unknown_task_lists_the_tasks_there_are(small_store, says):
    store = small_store()
    for call in (lambda: store.task("nope"), lambda: store.examples("nope")):
        with pytest.raises(TaskError) as caught:
            call()
        says(caught.value, "'nope'", "maths, dates", "Choose")


# --- the writer refuses too ------------------------------------------------------------------

ROWS = {"c0": np.ones((3, 3))}
WRITES = {
    "id in one part": (
        lambda w: w.add_part(sample_table([1, 2, 1]), ROWS),
        "'id-0001'",
        "unique",
        "Rename",
    ),
    "id in two parts": (
        lambda w: (
            w.add_part(sample_table(range(3)), ROWS),
            w.add_part(sample_table(range(3)), ROWS),
        ),
        "'id-0000'",
        "unique",
    ),
    "null id": (
        lambda w: w.add_part(
            sample_table(range(3)).with_columns(sample_id=pl.lit(None, pl.String)), ROWS
        ),
        "sample_id",
    ),
    "number as id": (
        lambda w: w.add_part(sample_table(range(3)).with_columns(sample_id=pl.lit(1)), ROWS),
        "sample_id",
    ),
    "null tokens": (
        lambda w: w.add_part(sample_table(range(3)).with_columns(n_tokens=pl.lit(None)), ROWS),
        "n_tokens",
    ),
    "no column": (lambda w: w.add_part(sample_table(range(3)).drop("record"), ROWS), "'record'"),
    "shape": (lambda w: w.add_part(sample_table(range(2)), ROWS), "(3, 3)", "(2, 3)"),
    "checkpoint": (lambda w: w.add_part(sample_table(range(3)), {"c1": ROWS["c0"]}), "c1", "c0"),
    "task name": (lambda w: w.add_task("a/b", example_table("t", {"": 3}), ROWS), "'a/b'"),
    "task column": (lambda w: w.add_task("t", sample_table(range(3)), ROWS), "'example_id'"),
    "task twice": (
        lambda w: [w.add_task("t", example_table("t", {"": 3}), ROWS) for _ in range(2)],
        "'t'",
        "repeated",
    ),
    "nothing": (lambda w: w.finish(), "0 samples"),
}


@pytest.mark.parametrize("what", WRITES)
def test_the_writer_refuses_in_one_sentence_and_makes_no_store(tmp_path, says, what):
    call, *parts = WRITES[what]
    with pytest.raises(StoreError) as caught:
        call(writer_at(tmp_path))
    says(caught.value, *parts)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"name": "a b"}, "'a b'"),
        ({"names": ("../x",)}, "'../x'"),
        ({"names": ("a", "a")}, "share a name"),
        ({"gradients": {"samples": "odd", "tasks": "sgd"}}, "'odd'"),
        ({"gradients": {"samples": "sgd"}}, "None"),
        ({"dim": 0}, "dim is 0"),
        ({"checkpoints": [Checkpoint("c", 0, float("nan"))]}, "step size"),
    ],
)
def test_a_writer_with_a_wrong_head_writes_nothing(tmp_path, says, change, part):
    with pytest.raises(StoreError) as caught:
        writer_at(tmp_path / "new", **change)
    says(caught.value, part)
    assert not (tmp_path / "new").exists()


def test_a_finished_store_is_not_written_over(tmp_path, says):
    tiny(tmp_path)
    with pytest.raises(StoreError) as caught:
        writer_at(tmp_path)
    says(caught.value, "already holds a store", "Choose")


KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[2])
real, left = os.replace, int(sys.argv[3])
def replace(a, b):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(a, b)
os.replace = replace
from conftest import build_store
build_store(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", [1, 9, 25])
def test_a_kill_while_writing_leaves_no_store(tmp_path, says, moment):
    """The first file, one in the middle, and the manifest itself, the 25th."""
    folder = tmp_path / "store"
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, str(folder), here, str(moment)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(GTPError) as caught:
        open_store(folder)
    says(caught.value, "manifest.json", "never finished")
    assert build_store(folder).verify() == 24  # and the same folder can be used again


def test_ids_are_told_apart_even_where_their_hashes_are_the_same(monkeypatch):
    """What was written decides, not the hash; and no id of many parts is forgotten."""
    seen = SeenIds()
    written: list[str] = []

    def frame() -> pl.LazyFrame:
        return pl.LazyFrame({"sample_id": written}, schema={"sample_id": pl.String})

    for part in range(40):
        ids = pl.Series([f"id-{part}-{i}" for i in range(1 + part % 7)])
        assert seen.repeated(ids, frame) is None
        seen.add(ids)
        written += ids.to_list()
    assert all(seen.repeated(pl.Series(["new", name]), frame) == name for name in written)
    assert seen.repeated(pl.Series(["twice", "other", "twice"]), frame) == "twice"
    monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series([7] * len(self), dtype=pl.UInt64))
    clash = SeenIds()
    clash.add(pl.Series(["a"]))
    assert clash.repeated(pl.Series(["b"]), lambda: pl.LazyFrame({"sample_id": ["a"]})) is None
    assert clash.repeated(pl.Series(["a"]), lambda: pl.LazyFrame({"sample_id": ["a"]})) == "a"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_unit_rows_are_those_of_the_definition_bit_for_bit(dtype):
    generator = np.random.default_rng(3)
    for dim in (1, 7, 8, 515):
        rows = generator.standard_normal((64, dim)) * generator.lognormal(0, 6, (64, dim))
        rows = (rows * generator.lognormal(0, 20, (64, 1))).astype(dtype)
        rows[3], rows[4, 0], rows[5, 0] = 0, np.nan, np.inf
        unit, norm = unit_rows(rows)
        halves, lengths = np.empty(rows.shape, np.uint16), np.empty(64, np.float32)
        narrow(rows, halves, lengths)
        assert (halves == unit.view(np.uint16)).all()
        assert lengths.tobytes() == norm.tobytes()


def test_gradient_files_are_those_of_the_safetensors_library(tmp_path):
    unit, norm = unit_rows(np.random.default_rng(0).standard_normal((5, 3)))
    digest = write_rows(tmp_path / "ours", unit=unit, norm=norm)
    save_file({"unit": unit, "norm": norm}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert digest == sha256(tmp_path / "ours")
