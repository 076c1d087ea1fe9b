"""Promises of each importer: the producer's own scores come back, in every version and layout."""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import (
    DIM,
    MODULES,
    PROJECTION,
    RATES,
    STEPS,
    less_scores,
    make_arrays,
    make_bergson,
    make_dattri,
    make_less,
    make_trak,
    save_index,
    save_less,
    some_rows,
    write_samples,
    write_trainer_states,
)
from test_importers import assert_is, assert_same_rows, stored_rows

from gtp_core.catalog import open_catalog
from gtp_core.errors import SourceError
from gtp_core.importers import Asked, import_store, survey
from gtp_core.importers.steps import mean_learning_rate

TREE = "grads/{name}-ckpt{step}-{kind}/dim{dim}"
EPSILON = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10, torch.float32: 2.0**-10}


def brought_in(name, source, out, **changes):
    return import_store(survey(name, source.folder, replace(source.asked, **changes)), out)


def influences(store, task: str) -> np.ndarray:
    """What top-k ranks by, as the catalog has it."""
    with closing(open_catalog(store)) as catalog:
        found = catalog.query(
            "SELECT influence FROM influences WHERE task = $1 ORDER BY row", [task]
        )
        return found["influence"].to_numpy()


def refused(file_format, source, says, *parts, **changes):
    with pytest.raises(SourceError) as error:
        survey(file_format, source.folder, replace(source.asked, **changes))
    says(error.value, *parts)


# --- LESS ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(EPSILON))
def test_top_k_over_a_less_store_is_less_own_ranking(dtype, tmp_path):
    source = make_less(tmp_path, dtype)
    wanted = less_scores(source.folder, TREE, "tydiqa", ["alpha", "beta"])
    for rows in ("raw", "normalised"):
        store = brought_in("less", source, tmp_path / rows, rows=rows)
        found = influences(store, "tydiqa")
        assert np.abs(found - wanted).max() < EPSILON[dtype]
        order, told = np.argsort(-found), np.argsort(-wanted)
        assert np.abs(wanted[order] - wanted[told]).max() < EPSILON[dtype]
        assert [c.step_size for c in store.checkpoints] == pytest.approx(list(RATES.values()))
        assert len(store.task("tydiqa").subtasks) == 9


def test_raw_rows_keep_lengths_and_normalised_rows_have_none(tmp_path):
    source = make_less(tmp_path, torch.float32)
    store = brought_in("less", source, tmp_path / "raw")
    assert store.norms()[:, 0] == pytest.approx(np.linalg.norm(source.rows["step-15"], axis=1))
    store = brought_in("less", source, tmp_path / "unit", rows="normalised")
    assert store.norms() == pytest.approx(np.ones((20, 3)))


def test_less_training_files_keep_the_order_they_are_told_in(tmp_path):
    source = make_less(tmp_path)
    told = tuple(reversed(source.asked.samples))
    store = brought_in("less", source, tmp_path / "store", samples=told)
    assert store.manifest.producer["files"] == [
        {"name": "beta", "rows": 9},
        {"name": "alpha", "rows": 11},
    ]
    assert_same_rows(stored_rows(store, 0)[9:], source.rows["step-15"][:11])


@pytest.mark.parametrize(
    ("tree", "train", "task"),
    [
        ("{name}/checkpoint-{step}-{kind}", "{name}/checkpoint-{step}-adam", "*/c*-{step}-sgd"),
        ("llama/val/{name}-ckpt{step}-{kind}/dim{dim}", None, None),
        ("out/{kind}/{step}/{name}", "adam/{step}/{name}", "sgd/{step}/{name}"),
    ],
)
def test_less_trees_of_forks_are_read_by_pattern(tree, train, task, tmp_path):
    source = make_less(tmp_path, tree=tree)
    if task == "*/c*-{step}-sgd":
        task = "{name}/checkpoint-{step}-sgd"
    store = brought_in("less", source, tmp_path / "store", train_pattern=train, task_pattern=task)
    assert_is(store, source)


def test_less_samples_without_a_name_in_their_tree(tmp_path):
    source = make_less(tmp_path)
    for step in STEPS:
        place = source.folder / "fork" / f"checkpoint-{step}-adam"
        save_less(place, some_rows(11, step), torch.bfloat16)
    store = brought_in(
        "less",
        source,
        tmp_path / "store",
        samples=source.asked.samples[:1],
        train_pattern="fork/checkpoint-{step}-adam",
    )
    assert store.n_samples == 11


def test_the_largest_dimension_is_taken_unless_another_is_asked_for(tmp_path, says):
    source = make_less(tmp_path)
    for path in sorted(source.folder.rglob("dim24")):
        shutil.copytree(path, path.parent / "dim8")
        for file in (path.parent / "dim8").glob("*.pt"):
            torch.save(torch.load(file, weights_only=True)[:, :8].clone(), file)
    assert brought_in("less", source, tmp_path / "large").dim == DIM
    assert brought_in("less", source, tmp_path / "small", dim=8).dim == 8
    refused("less", source, says, "8, 24", dim=512)


def test_shards_are_read_in_order_and_a_missing_one_is_refused(tmp_path, says):
    source = make_less(tmp_path, shard=4)
    for path in source.folder.rglob("all_*.pt"):
        path.unlink()
    refused("less", source, says, "no merged file", "--rows shards")
    assert_is(brought_in("less", source, tmp_path / "store", rows="shards"), source)
    (source.folder / "grads" / "alpha-ckpt15-adam" / "dim24" / "grads-8.pt").unlink()
    refused("less", source, says, "grads-11.pt", "missing", rows="shards")


def test_an_older_name_of_the_raw_file_is_known(tmp_path):
    source = make_less(tmp_path)
    for path in source.folder.rglob("all_unormalized.pt"):
        path.rename(path.with_name("all_unormaize.pt"))
    store = brought_in("less", source, tmp_path / "store")
    assert store.manifest.producer["rows"] == "raw"


def test_less_rows_of_two_projectors_and_missing_checkpoints_are_refused(tmp_path, says):
    source = make_less(tmp_path)
    place = source.folder / "grads" / "tydiqa-ckpt30-sgd"
    shutil.rmtree(place)
    refused("less", source, says, "tydiqa", "step 30")
    save_less(place / "dim24", some_rows(9, 1), torch.float32)
    refused("less", source, says, "float32", "projectors")
    shutil.rmtree(place)
    save_less(place / "dim24", some_rows(9, 1, 16), torch.bfloat16)
    refused("less", source, says, "16 dimensions", "projected differently")
    refused("less", source, says, "bbh", "tydiqa", task=("bbh",))
    refused("less", source, says, "{name}", train_pattern="nowhere/{name}-{step}")
    refused("less", source, says, "pattern", train_pattern="{name}{name}{wrong}")
    refused("less", source, says, "alpha, beta", samples=("gamma=/x.jsonl",))
    refused("less", source, says, "--samples", samples=())


def test_bbh_has_its_27_subtasks_and_others_what_is_said(tmp_path, says):
    source = make_less(tmp_path)
    for step in STEPS:
        place = source.folder / "grads" / f"bbh-ckpt{step}-sgd" / "dim24"
        save_less(place, some_rows(54, step), torch.bfloat16)
    store = brought_in("less", source, tmp_path / "store")
    assert store.task_names == ("bbh", "tydiqa")
    assert len(store.task("bbh").subtasks) == 27
    assert store.examples("bbh")["subtask"].to_list()[:4] == ["subtask-01"] * 2 + ["subtask-02"] * 2
    other = brought_in("less", source, tmp_path / "own", subtasks=("bbh=6",), task=("bbh",))
    assert other.task_names == ("bbh",)
    assert len(other.task("bbh").subtasks) == 6
    assert other.manifest.declared["subtasks of bbh"] == "6"
    refused("less", source, says, "not 7 equal groups", subtasks=("bbh=7",))


def test_less_own_files_of_examples_name_the_subtasks(tmp_path):
    source = make_less(tmp_path)
    path = tmp_path / "tydiqa-one-shot.json"
    languages = [f"lang{i}" for i in range(9)]
    path.write_text(json.dumps({name: [{"question": "?", "answer": "!"}] for name in languages}))
    store = brought_in("less", source, tmp_path / "store", task=(f"tydiqa={path}",))
    assert store.task("tydiqa").subtasks == tuple(languages)
    assert store.examples("tydiqa")["completion"][0] == "!"


# --- step sizes ------------------------------------------------------------------------------


def test_step_sizes_are_the_mean_learning_rates_of_the_epochs(tmp_path, says):
    folder = write_trainer_states(tmp_path)
    for step, rate in RATES.items():
        assert mean_learning_rate(folder, step) == pytest.approx(rate)
        assert mean_learning_rate(folder / f"checkpoint-{step}", step) == pytest.approx(rate)
    (folder / "checkpoint-15" / "trainer_state.json").write_text('{"log_history": []}')
    for step, what in ((15, "log"), (99, "step 99")):
        with pytest.raises(SourceError) as error:
            mean_learning_rate(folder, step)
        says(error.value, what)


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ((), "--checkpoints"),
        (("15=1",), "step-30"),
        (("all=x",), "not a number"),
        (("all=-1",), "0 or more"),
        (("all=nan",), "0 or more"),
        (("all=1", "60=2"), "'60'"),
        (("15",), "NAME=VALUE"),
    ],
)
def test_step_sizes_that_nobody_can_use_are_refused(told, what, tmp_path, says):
    source = make_less(tmp_path)
    refused("less", source, says, what, checkpoints=None, step_size=told)


# --- bergson ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4.6", "0.10.1", "2.5.1"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_bergson_of_every_version_and_type(version, kind, tmp_path):
    source = make_bergson(tmp_path / "from", version, kind, texts=version != "0.4.6")
    store = brought_in("bergson", source, tmp_path / "store")
    assert_is(store, source)
    assert store.task("bbh").subtasks == ("sub0", "sub1", "sub2")
    assert store.manifest.gradients == {"samples": "adam", "tasks": "sgd"}
    assert store.manifest.projection["bergson_projection_version"] == 2
    assert store.manifest.producer["version"] == (None if version == "0.4.6" else version)
    tokens = store.samples().collect()["n_tokens"]
    assert (tokens[3] == 8) == (version != "0.4.6")


def test_bergson_cosine_scores_come_back(tmp_path):
    """Its scores: both sides made unit in float32, products, the nearest query's is taken."""
    source = make_bergson(tmp_path / "from")
    store = brought_in("bergson", source, tmp_path / "store", subtasks=("bbh=each",), task=("bbh",))
    weights = [c.step_size / sum(c.step_size for c in store.checkpoints) for c in store.checkpoints]
    cosines = 0.0
    for weight, name in zip(weights, source.rows, strict=True):
        train, query = source.rows[name], source.tasks["bbh"][name]
        train = train / np.linalg.norm(train, axis=1, keepdims=True)
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        cosines = cosines + weight * (train @ query.T)
    nearest = cosines.max(axis=1)
    found = influences(store, "bbh")
    assert np.abs(found - nearest).max() < 1e-3
    assert nearest[np.argsort(-found)] == pytest.approx(np.sort(nearest)[::-1], abs=1e-3)


def test_rows_per_token_are_summed_to_samples(tmp_path, says):
    source = make_bergson(tmp_path / "from", per_token=True)
    store = brought_in("bergson", source, tmp_path / "store")
    assert_is(store, source)
    path = source.folder / "train-ckpt15" / "offsets.npy"
    offsets = np.load(path)
    older = make_bergson(tmp_path / "older", "0.10.1", "bfloat16", per_token=True)
    assert_is(brought_in("bergson", older, tmp_path / "older-store"), older)
    for wrong in (offsets[:-1], offsets[::-1], offsets.astype(float), offsets[None]):
        np.save(path, wrong)
        refused("bergson", source, says, "offsets.npy")
    path.unlink()
    refused("bergson", source, says, "offsets.npy")


def test_modules_are_joined_weighted_or_left_out(tmp_path, says):
    source = make_bergson(tmp_path / "from")
    store = brought_in(
        "bergson", source, tmp_path / "store", module=("layers.0.*=0.5", "*lora_B*=0")
    )
    sizes = list(MODULES.values())
    factors = np.repeat([0.5, 0.0, 1.0], sizes)
    wanted = source.rows["step-15"] * factors
    assert store.dim == sizes[0] + sizes[2]
    assert_same_rows(stored_rows(store, 0), wanted[:, factors != 0])
    assert store.manifest.declared["modules"] == ["layers.0.*=0.5", "*lora_B*=0"]
    refused("bergson", source, says, "fits no module", module=("nothing=1",))
    refused("bergson", source, says, "NAME=VALUE", module=("*",))


def test_an_aggregated_query_is_a_task_of_one_example(tmp_path):
    source = make_bergson(tmp_path / "from")
    for step in STEPS:
        folder = source.folder / f"mean-ckpt{step}"
        save_index(folder, some_rows(1, step))
    store = brought_in("bergson", source, tmp_path / "store", task=("mean",))
    assert store.task("mean").n_examples == 1


def test_one_index_of_samples_and_one_of_a_task(tmp_path):
    source = tmp_path / "from"
    lines = write_samples(tmp_path / "pool.jsonl", 20)
    save_index(source / "pool", some_rows(20, 1), texts=lines)
    save_index(source / "maths", some_rows(5, 2))
    plan = survey("bergson", source, Asked(train_pattern="pool"))
    store = import_store(plan, tmp_path / "store")
    assert store.task_names == ("maths",)
    assert store.manifest.declared["patterns"] == ["pool", None]
    with pytest.raises(SourceError, match="--train-pattern"):
        survey("bergson", source)


def test_unfinished_mixed_and_short_indexes_are_refused(tmp_path, says):
    source = make_bergson(tmp_path / "from")
    train = source.folder / "train-ckpt15"
    train.rename(train.with_suffix(".part"))
    refused("bergson", source, says, ".part", "did not finish")
    train.with_suffix(".part").rename(train)
    for change, what in (
        ({"projection": {**PROJECTION, "projection_seed": 7}}, "projection_seed"),
        ({"projection": {**PROJECTION, "projection_version": 1}}, "projection_version"),
        ({"sizes": dict(reversed(MODULES.items()))}, "other modules"),
    ):
        shutil.rmtree(source.folder / "bbh-ckpt30")
        save_index(source.folder / "bbh-ckpt30", some_rows(6, 1), **change)
        refused("bergson", source, says, what, "bbh-ckpt30")
    shutil.rmtree(source.folder / "bbh-ckpt30")
    refused("bergson", source, says, "task bbh", "step 30")
    with open(train / "gradients.bin", "ab") as handle:
        handle.write(b"x")
    refused("bergson", source, says, "bytes", "cut short")


@pytest.mark.parametrize("name", ["../../secret.arrow", "/etc/passwd", "a\0b", "", 7, "x\\..\\y"])
def test_paths_in_a_manifest_never_lead_outside(name, tmp_path, says):
    source = make_bergson(tmp_path / "from")
    shutil.copy(
        source.folder / "train-ckpt15" / "data.hf" / "data-00000-of-00001.arrow",
        source.folder / "secret.arrow",
    )
    state = source.folder / "train-ckpt15" / "data.hf" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": name}]}))
    refused("bergson", source, says, "Mend it")


def test_a_link_that_leads_outside_is_refused(tmp_path, says):
    source = make_bergson(tmp_path / "from")
    data = source.folder / "train-ckpt15" / "data.hf" / "data-00000-of-00001.arrow"
    data.rename(tmp_path / "outside.arrow")
    data.symlink_to(tmp_path / "outside.arrow")
    refused("bergson", source, says, "outside the source")


def test_samples_without_a_supervised_token_are_told(tmp_path, monkeypatch):
    import foreign

    monkeypatch.setattr(foreign, "save_dataset", _with_masked_rows(foreign.save_dataset))
    plan = survey("bergson", (s := make_bergson(tmp_path)).folder, s.asked)
    assert any(note.startswith("3 samples have no supervised token") for note in plan.notes)


def _with_masked_rows(save):
    import pyarrow as pa

    def masked(folder: Path, items: int, texts) -> None:
        save(folder, items, texts)
        path = folder / "data-00000-of-00001.arrow"
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all()
        labels = [[-100, -100] if i < 3 else [1] for i in range(items)]
        table = table.set_column(table.column_names.index("labels"), "labels", [labels])
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)

    return masked


# --- TRAK and dattri ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_trak_scores_are_products_of_the_stored_rows(dtype, tmp_path):
    """mean over models of features @ target gradients, times the mean of out_to_loss."""
    source = make_trak(tmp_path / "from", dtype)
    store = brought_in("trak", source, tmp_path / "store")
    scores, wanted = 0.0, 0.0
    place = source.folder
    read = {
        name: [np.load(place / str(k) / f"{name}.mmap").astype(float) for k in range(2)]
        for name in ("features", "bbh_grads", "out_to_loss")
    }
    for k in range(2):
        wanted = wanted + read["features"][k] @ read["bbh_grads"][k].T / 2
        scores = scores + stored_rows(store, k) @ stored_rows(store, k, "bbh").T / 2
    wanted = wanted * np.mean(read["out_to_loss"], axis=0)
    assert np.abs(scores - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert len({c.step_size for c in store.checkpoints}) == 1
    assert store.manifest.projection["type"] == "rademacher"
    grads = brought_in("trak", source, tmp_path / "grads", rows="grads")
    assert_same_rows(stored_rows(grads, 0), np.load(place / "0" / "grads.mmap").astype(float))


def test_trak_that_is_unfinished_or_not_trak_is_refused(tmp_path, says):
    source = make_trak(tmp_path)
    state = source.folder / "id_1.json"
    state.write_text(json.dumps({"1": {"is_featurized": 1, "is_finalized": 0}}))
    refused("trak", source, says, "model 1", "finalized")
    assert survey("trak", source.folder, replace(source.asked, rows="grads"))
    state.write_text(json.dumps({"1": {"is_featurized": 1, "is_finalized": 1}}))
    (source.folder / "0" / "features.mmap").write_bytes(some_rows(20, 1).tobytes())
    refused("trak", source, says, "raw map", "dattri")
    refused("dattri", source, says, "batch_metadata.json", "trak")
    refused("trak", source, says, "--rows", rows="loss")


@pytest.mark.parametrize("storage", ["uint16", "float32"])
def test_dattri_scores_are_products_of_the_stored_rows(storage, tmp_path):
    source = make_dattri(tmp_path / "from", storage)
    store = brought_in("dattri", source, tmp_path / "store")
    assert_is(store, source)
    wanted = source.rows["checkpoint"].astype(float) @ source.tasks["bbh"]["checkpoint"].T
    found = stored_rows(store, 0) @ stored_rows(store, 0, "bbh").T
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_dattri_chunks_that_are_missing_short_or_outside_are_refused(tmp_path, says):
    source = make_dattri(tmp_path)
    meta = source.folder / "ifvp" / "chunk_ifvp_10_11_metadata.json"
    whole = json.loads(meta.read_text())
    for change, what in (
        ({"chunk_filename": "../../pool"}, "outside"),
        ({"chunk_filename": "/etc/passwd"}, "outside"),
        ({"shape": [5, DIM]}, "bytes"),
        ({"storage_dtype": "int8"}, "storage_dtype"),
        ({"batch_start": 9}, "one after the other"),
    ):
        meta.write_text(json.dumps({**whole, **change}))
        refused("dattri", source, says, what)
    meta.unlink()
    refused("dattri", source, says, "12 batches")
    meta.write_text(json.dumps(whole))
    with open(source.folder / "ifvp" / "chunk_ifvp_10_11.mmap", "wb") as handle:
        np.save(handle, some_rows(4, 1))
    refused("dattri", source, says, ".npy map")


# --- arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".pt"])
@pytest.mark.parametrize("samples", ["jsonl", "parquet"])
def test_arrays_of_every_kind(suffix, samples, tmp_path):
    source = make_arrays(tmp_path / "from", suffix, samples)
    store = brought_in("arrays", source, tmp_path / "store")
    assert_is(store, source)
    assert [(c.name, c.step, c.step_size) for c in store.checkpoints] == [
        ("step-9", 9, 1.5),
        ("step-10", 10, 0.5),
    ]
    assert store.task("maths").subtasks == ("b", "a")
    found = store.samples().collect()
    assert found["prompt"][1] == "Wieviel ist 1? <b>\u2028日本</b>"
    assert found["n_tokens"][2] == (2 if samples == "parquet" else 10)


def test_arrays_that_do_not_fit_are_refused(tmp_path, says):
    source = make_arrays(tmp_path)
    np.save(source.folder / "step-9.npy", some_rows(20, 1).T)
    refused("arrays", source, says, "24")
    np.save(source.folder / "step-9.npy", np.asfortranarray(some_rows(20, 1)))
    refused("arrays", source, says, "C-ordered")
    np.save(source.folder / "step-9.npy", np.array([[object()]]), allow_pickle=True)
    refused("arrays", source, says, "numbers of type '|O'")
    np.save(source.folder / "step-9.npy", np.ones((20, DIM), np.int32))
    refused("arrays", source, says, "'<i4'")
    np.save(source.folder / "step-9.npy", some_rows(20, 1))
    (source.folder / "tasks" / "dates" / "step-10.npy").unlink()
    refused("arrays", source, says, "dates", "one matrix per checkpoint")


def test_a_name_that_no_store_can_have_is_refused(tmp_path, says):
    source = make_arrays(tmp_path)
    refused("arrays", source, says, "--name", name="../up")
    assert survey("arrays", source.folder, replace(source.asked, name="mine")).name == "mine"
