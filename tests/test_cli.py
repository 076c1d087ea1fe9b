"""Promises of gtp_core.cli: one JSON document or one sentence, and nothing half-made."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import build_store, edit_manifest

import gtp_core
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.cli import VERBS, choosing, main, stores
from gtp_core.methods import METHODS, Settings, label, select
from gtp_core.pursuit import Stop
from gtp_core.report import save

ROOT = Path(gtp_core.__file__).resolve().parent.parent
CONTRACT = {
    *("run", "method", "task", "budget", "n_selected", "sample_ids", "weights"),
    *("residual_weighted", "residual_as_trained", "held_out", "residuals", "stop", "seconds"),
    *("store_id", "settings"),
}
BEYOND = {"n_filled", "store_digest"}  # what `select --json` says beside the contract
SETTINGS = {
    *("task", "budget", "method", "ridge", "max_rounds", "tolerance", "fill", "seed", "weights"),
    *("subtasks", "common_direction", "where", "pins", "bans", "n_splits", "split_seed"),
    *("subtask_weights", "checkpoints", "caps", "pool_digest", "subspace", "gradients"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store that is loaded already, so that a refused command has nothing to write."""
    tasks = {"maths": {"sums": 5, "proofs": 2, "units": 1}, "dates": {"": 4}, "empty": {}}
    store = build_store(tmp_path_factory.mktemp("cli") / "store", tasks=tasks)
    open_catalog(store).close()
    return store.folder


@pytest.fixture
def gtp(capsys):
    """`gtp(*words)`: status, standard output and standard error of a command."""

    def run(*words):
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def document(gtp):
    """`document(*words)`: the one JSON document a command prints."""

    def run(*words):
        status, out, err = gtp(*words, "--json")
        assert (status, err) == (0, "")
        assert out.count("\n") == 1
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    return run


def process(*words, **options):
    command = [sys.executable, "-m", "gtp_core", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def is_one_sentence(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].startswith("gtp: ") and lines[0].endswith((".", "`."))


# --- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert VERBS[verb][0] in " ".join(out.split())
    assert "--json" in out


def test_the_help_names_every_verb_and_every_method(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    words = capsys.readouterr().out.split()
    assert set(VERBS) <= set(words)
    with pytest.raises(SystemExit):
        main(["select", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(label(method) in text for method in METHODS)


# --- select ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_select_prints_what_was_agreed(document, folder, tmp_path, method):
    words = ("--task", "maths", "--budget", "6", "--method", method, "--workspace", tmp_path)
    answer = document("select", folder, *words)
    assert set(answer) == CONTRACT | BEYOND
    assert set(answer["settings"]) == SETTINGS
    assert (answer["method"], answer["task"], answer["budget"]) == (method, "maths", "6")
    assert answer["n_selected"] == len(answer["sample_ids"]) == len(answer["weights"])
    assert len(set(answer["sample_ids"])) == answer["n_selected"] <= 6
    assert set(answer["held_out"]) == {"match", "ceiling", "splits"}
    assert answer["residuals"][-1] == pytest.approx(answer["residual_weighted"])
    assert answer["stop"].upper() in Stop.__members__
    assert answer["settings"]["ridge"] == Settings.ridge
    assert answer["seconds"] > 0
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        run, tables = catalog.read_run(answer["run"])
        assert answer["store_id"] == catalog.store.store_id
    assert {key: answer[key] for key in run} == run
    assert tables["selection"]["sample_id"].to_list() == answer["sample_ids"]
    assert tables["selection"]["weight"].to_list() == answer["weights"]


def test_select_says_the_same_in_words(gtp, document, folder, tmp_path):
    words = ("select", folder, "--task", "maths", "--budget", "6", "--workspace", tmp_path)
    answer = document(*words)
    status, out, err = gtp(*words)
    assert (status, err) == (0, "")
    assert f"run {answer['run']}\n" in out
    assert f"chosen {answer['n_selected']} of budget 6 (0 filled)" in out
    assert f"residual {answer['residual_weighted']:.4f} weighted" in out
    assert f"held-out match {answer['held_out']['match']:.3f}" in out
    assert Stop[answer["stop"].upper()].value in out


def test_ctrl_c_keeps_the_best_round_and_the_run(gtp, folder, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(choosing, "_print_round", lambda _: signal.raise_signal(signal.SIGINT))
    what = (folder, "--task", "maths", "--budget", "20", "--ridge", "0.01")
    code, out, said = gtp("select", *what, "--workspace", tmp_path, "--json")
    assert code == 0
    assert said.startswith("gtp: keeping the best so far")
    answer = json.loads(out)
    assert answer["stop"] == "cancelled"
    assert len(answer["residuals"]) == 1
    assert answer["n_selected"] > 0
    assert answer["held_out"] is None
    assert signal.getsignal(signal.SIGINT) is before
    code, said, _ = gtp("select", *what, "--workspace", tmp_path)
    assert code == 0
    assert "held-out match not known: cancelled" in said


def test_a_second_ctrl_c_stops_at_once(gtp, folder, tmp_path, monkeypatch):
    def twice(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(choosing, "_print_round", twice)
    code, _, complaint = gtp(
        "select", folder, "--task", "maths", "--budget", "20", "--workspace", tmp_path
    )
    assert code == 130
    assert "interrupted" in complaint


def test_a_task_of_one_example_has_no_held_out_match(document, gtp, small_store):
    small = small_store(tasks={"one": {"": 1}}).folder
    words = ("select", small, "--task", "one", "--budget", "3")
    assert document(*words)["held_out"] is None
    assert "held-out match not known" in gtp(*words)[1]


def test_a_budget_in_tokens_is_kept(document, folder, tmp_path):
    for method in METHODS:
        words = ("--task", "maths", "--budget", "200tok", "--method", method)
        answer = document("select", folder, *words, "--workspace", tmp_path)
        with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
            rows = catalog.rows_of(answer["sample_ids"])
            assert 100 < catalog.texts(rows)["n_tokens"].sum() <= 200


def test_a_percentage_is_of_the_pool(document, folder, tmp_path):
    words = ("--task", "maths", "--budget", "10%", "--method", "top-k", "--workspace", tmp_path)
    answer = document("select", folder, *words)
    assert (answer["n_selected"], answer["budget"]) == (6, "10%")


def test_pins_and_bans_are_honoured(document, folder, tmp_path):
    words = ["select", folder, "--task", "maths", "--budget", "4", "--workspace", tmp_path]
    first = document(*words)["sample_ids"]
    (tmp_path / "pins").write_text("\n id-0011 \r\n\nid-0009", encoding="utf-8")
    (tmp_path / "bans").write_text("\n".join(first), encoding="utf-8")
    answer = document(*words, "--pin", tmp_path / "pins", "--ban", tmp_path / "bans")
    assert {"id-0011", "id-0009"} <= set(answer["sample_ids"])
    assert not set(first) & set(answer["sample_ids"])
    assert answer["settings"]["pins"] == ["id-0009", "id-0011"]
    assert answer["settings"]["bans"] == sorted(first)


def test_pins_and_bans_of_the_edit_log_are_honoured(document, folder, tmp_path):
    words = ("select", folder, "--task", "maths", "--budget", "4", "--workspace", tmp_path)
    first = document(*words)["sample_ids"][0]
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        catalog.edit("pin", who="me", sample_id="id-0011")
        catalog.edit("ban", who="me", sample_id=first)
    answer = document(*words)
    assert "id-0011" in answer["sample_ids"]
    assert first not in answer["sample_ids"]


def test_where_is_honoured(document, folder, tmp_path):
    where = "source = 'o''asst' OR n_tokens < 8"
    words = ("--task", "maths", "--budget", "6", "--where", where, "--workspace", tmp_path)
    answer = document("select", folder, *words)
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        table = catalog.texts(catalog.rows_of(answer["sample_ids"]))
    assert answer["n_selected"] > 0
    assert all(s == "o'asst" or n < 8 for s, n in table.select("source", "n_tokens").iter_rows())
    assert answer["settings"]["where"] == where


def test_every_setting_reaches_the_run(document, folder, tmp_path):
    words = ("--task", "maths", "--budget", "20", "--ridge", "0.5", "--max-rounds", "1")
    words += ("--fill", "influence", "--common-direction", "kept", "--seed", "7")
    answer = document("select", folder, *words, "--workspace", tmp_path)
    told = {"ridge": 0.5, "max_rounds": 1, "fill": "influence", "common_direction": "kept"}
    told |= {"seed": 7, "split_seed": 7, "method": "gtp", "budget": "20"}
    assert {key: answer["settings"][key] for key in told} == told
    assert answer["n_selected"] == 20
    assert len(answer["residuals"]) == 1


def test_the_same_command_is_the_same_run(document, folder, tmp_path):
    words = ("select", folder, "--task", "maths", "--budget", "6", "--workspace", tmp_path)
    one, two = document(*words), document(*words)
    assert {**one, "seconds": 0} == {**two, "seconds": 0}
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        assert catalog.list_runs() == [one["run"]]


def test_caps_tasks_and_checkpoints_reach_the_run(document, folder, tmp_path):
    words = ("--task", "maths", "--task", "dates=2", "--budget", "6", "--method", "top-k")
    words += ("--checkpoint", "step-0=0", "--checkpoint", "step-10=2.5")
    words += ("--subtask-weight", "sums=2", "--subtask-weight", "maths/units=0")
    words += ("--cap-source", "2", "--one-per-duplicate", "--tolerance", "0.5")
    answer = document("select", folder, *words, "--workspace", tmp_path)
    told = {"checkpoints": {"step-0": 0, "step-10": 2.5}, "caps": {"duplicate": 1, "source": 2}}
    told |= {"subtask_weights": {"maths/sums": 2, "maths/units": 0}, "task": "maths=1,dates=2"}
    told |= {"tolerance": 0.5}
    assert {key: answer["settings"][key] for key in told} == told
    assert answer["task"] == "maths=1,dates=2"
    assert answer["held_out"]["splits"] == 10
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        sources = catalog.texts(catalog.rows_of(answer["sample_ids"]))["source"]
        assert sources.value_counts()["count"].to_list() == [2, 2, 2]
        assert catalog.ask("SELECT task FROM runs")["task"].to_list() == [answer["task"]]


def test_the_pool_as_target_says_what_became_of_its_direction(gtp, document, folder, tmp_path):
    words = ("select", folder, "--task", "pool:mean", "--budget", "6", "--workspace", tmp_path)
    answer = document(*words)
    assert answer["settings"]["common_direction"] == "kept"
    assert answer["run"].startswith("gtp-pool-mean-6-")
    assert answer["held_out"]["splits"] == 10
    assert "common direction kept: " in gtp(*words)[1]


# --- lists that someone else chose -----------------------------------------------------------


@pytest.fixture
def theirs(folder, tmp_path, document):
    """`theirs(text, *words)`: the run of a list with that content."""

    def run(text, *words):
        path = tmp_path / "theirs"
        path.write_text(text, encoding="utf-8")
        words = ("--task", "maths", "--ids", path, *words, "--workspace", tmp_path)
        return document("select", folder, *words)

    return run


IDS = ["id-0044", "id-0002", "id-0030"]


@pytest.mark.parametrize(
    "text",
    [
        "id-0044\n id-0002 \r\n\nid-0030",
        "\n".join(json.dumps({"sample_id": i, "x": [1]}) for i in IDS),
        json.dumps({"sample_ids": IDS, "file": "x"}, indent=1),
    ],
)
def test_a_list_is_a_run_with_equal_weights(theirs, text, folder, tmp_path):
    answer = theirs(text)
    assert set(answer) == CONTRACT | BEYOND
    assert answer["sample_ids"] == IDS
    assert len(set(answer["weights"])) == 1
    assert answer["residual_weighted"] == pytest.approx(answer["residual_as_trained"])
    assert answer["residual_weighted"] <= 1
    assert (answer["method"], answer["budget"], answer["held_out"]) == ("ids", "3", None)
    assert set(answer["settings"]) >= {"task", "common_direction", "weights", "ids_sha256", "name"}
    assert answer["settings"]["n_splits"] == 0
    assert answer["run"].startswith("ids-maths-3-")
    with closing(open_catalog(folder, workspace=tmp_path)) as catalog:
        assert catalog.list_runs() == [answer["run"]]
        chosen = catalog.ask("SELECT count(*) AS n FROM verdicts WHERE verdict = 'chosen'")
        assert chosen["n"].item() == 3
        assert catalog.ask("SELECT held_out_match FROM runs")["held_out_match"].to_list() == [None]


def test_a_list_of_one_sample_as_json(theirs):
    assert theirs('{"sample_id": "id-0005"}')["sample_ids"] == ["id-0005"]


def test_other_lists_and_other_names_are_other_runs(theirs):
    runs = [theirs("id-0044"), theirs("id-0002"), theirs("id-0002", "--name", "less-v1.5")]
    runs += [theirs("id-0044\nid-0002"), theirs("id-0002\nid-0044")]
    runs += [theirs("id-0044", "--common-direction", "kept")]
    assert len({run["run"] for run in runs}) == len(runs)
    assert runs[2]["run"].startswith("ids-less-v1.5-maths-1-")
    assert theirs("id-0044")["run"] == runs[0]["run"]


def test_a_list_says_so_in_words(gtp, folder, tmp_path):
    path = tmp_path / "theirs"
    path.write_text("\n".join(IDS), encoding="utf-8")
    words = ("select", folder, "--task", "maths", "--ids", path, "--workspace", tmp_path)
    status, out, err = gtp(*words)
    assert (status, err) == (0, "")
    assert "3 samples as listed" in out
    assert "held-out match not known" in out
    assert "fewer than two" not in out


def test_a_list_is_compared_with_a_run(gtp, document, theirs, folder, tmp_path):
    words = ("--task", "maths", "--budget", "6", "--checkpoint", "step-0=0")
    mine = document("select", folder, *words, "--workspace", tmp_path)
    listed = theirs("\n".join([*mine["sample_ids"][:3], "id-0044", "id-0030"]))
    for ids in ((mine["run"], listed["run"]), (listed["run"], mine["run"])):
        answer = document("compare", folder, *ids, "--workspace", tmp_path)
        assert answer["overlap"]["both"] >= 3
        assert [answer[side]["run"] for side in "ab"] == [*ids]
        assert gtp("compare", folder, *ids, "--workspace", tmp_path)[0] == 0


def test_a_run_older_than_a_setting_can_be_compared(document, folder, tmp_path):
    words = ("--task", "dates", "--budget", "5", "--workspace", tmp_path)
    run = document("select", folder, *words)["run"]
    (path,) = tmp_path.glob(f"*/runs/{run}/run.json")
    document_of = json.loads(path.read_text(encoding="utf-8"))
    for name in ("checkpoints", "subtask_weights", "caps"):
        del document_of["settings"][name]
    path.write_text(json.dumps(document_of), encoding="utf-8")
    answer = document("compare", folder, run, run, "--workspace", tmp_path)
    assert answer["overlap"]["jaccard"] == 1.0
    out = tmp_path / "out.jsonl"
    receipt = document("export", folder, run, "--out", out, "--workspace", tmp_path)
    assert "--ridge 1.0" in receipt["rebuild"]


# --- compare, export, inspect ----------------------------------------------------------------


def test_compare_puts_two_runs_side_by_side(gtp, document, folder, tmp_path):
    workspace = ("--workspace", tmp_path)
    runs = [
        document(
            "select", folder, "--task", "maths", "--budget", "6", "--method", method, *workspace
        )
        for method in ("gtp", "top-k")
    ]
    ids = [run["run"] for run in runs]
    answer = document("compare", folder, *ids, *workspace)
    one, two = (set(run["sample_ids"]) for run in runs)
    assert answer["overlap"]["both"] == len(one & two)
    assert answer["overlap"]["only_a"] == len(one - two)
    assert answer["overlap"]["only_b"] == len(two - one)
    assert answer["overlap"]["jaccard"] == len(one & two) / len(one | two)
    assert [answer[side]["run"] for side in "ab"] == ids
    assert answer["a"]["residual_weighted"] == runs[0]["residual_weighted"]
    assert {row["source"] for row in answer["sources"]} == {"flan", "dolly", "o'asst"}
    status, out, err = gtp("compare", folder, *ids, *workspace)
    assert (status, err) == (0, "")
    assert f"in both {len(one & two)};" in out
    assert all(run in out for run in ids)


def test_a_run_compared_with_itself_is_the_same(document, folder, tmp_path):
    workspace = ("--workspace", tmp_path)
    words = ("--task", "dates", "--budget", "5", *workspace)
    run = document("select", folder, *words)["run"]
    answer = document("compare", folder, run, run, *workspace)
    assert answer["overlap"]["jaccard"] == 1.0
    assert answer["a"] == answer["b"]


def test_export_writes_the_file_and_its_receipt(gtp, document, folder, tmp_path):
    words = ("--task", "maths", "--budget", "6", "--workspace", tmp_path)
    run = document("select", folder, *words)
    path = tmp_path / "out" / "subset.jsonl"
    words = ("export", folder, run["run"], "--out", path, "--workspace", tmp_path)
    receipt = document(*words)
    assert receipt["sample_ids"] == run["sample_ids"]
    assert len(path.read_text(encoding="utf-8").splitlines()) == run["n_selected"]
    assert json.loads(path.with_name("subset.jsonl.receipt.json").read_text()) == receipt
    status, out, _ = gtp(*words, "--overwrite", "--format", "ids", "--order", "pool")
    assert (status, out) == (0, f"{run['n_selected']} samples written to {path}\n")
    assert path.read_text().split() == sorted(run["sample_ids"])


def test_inspect_says_what_is_in_a_store(gtp, document, folder):
    facts = document("inspect", folder, "--verify")
    assert (facts["n_samples"], facts["n_invalid"], facts["dim"]) == (60, 3, 16)
    assert [task["task"] for task in facts["tasks"]] == ["maths", "dates", "empty"]
    assert facts["verified_files"] > 10
    assert {check["level"] for check in facts["checks"]} >= {"warning", "problem"}
    status, out, _ = gtp("inspect", folder)
    assert status == 0
    assert "60 samples x 3 checkpoints x 16 dimensions" in out
    assert all(check["text"] in out for check in facts["checks"])


def test_verify_finds_a_changed_byte(gtp, small_store):
    store = small_store()
    victim = store.folder / store.manifest.parts[0].files[1].path
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    assert gtp("inspect", store.folder)[0] == 0  # opening checks sizes only
    status, out, err = gtp("inspect", store.folder, "--verify")
    assert (status, out) == (2, "")
    assert is_one_sentence(err)
    assert str(victim) in err


def test_sql_answers_with_columns_and_rows(gtp, document, folder):
    answer = document("inspect", folder, "--sql", "SELECT task, n_examples FROM tasks ORDER BY 2")
    assert answer == {
        "columns": ["task", "n_examples"],
        "rows": [["empty", 0], ["dates", 4], ["maths", 8]],
    }
    assert "n_examples" in gtp("inspect", folder, "--sql", "FROM tasks")[1]


def test_sql_answers_are_json_whatever_they_hold(document, folder):
    sql = "SELECT 'nan'::FLOAT, 'inf'::DOUBLE, DATE '2024-02-29', 'x'::BLOB, [1, NULL], {'a': 1}"
    (row,) = document("inspect", folder, "--sql", sql)["rows"]
    assert row[:3] == [None, None, "2024-02-29"]
    assert row[4:] == [[1, None], {"a": 1}]


# --- bad input -------------------------------------------------------------------------------

SELECT = ("select", "{store}", "--task", "maths", "--budget", "5")

LIST = ("select", "{store}", "--task", "maths", "--ids")


def change(*words) -> tuple[str, ...]:
    """SELECT with some of its words replaced or added, by flag."""
    told = list(SELECT)
    for flag, value in zip(words[::2], words[1::2], strict=True):
        if flag in told:
            told[told.index(flag) + 1] = value
        else:
            told += [flag, value]
    return tuple(told)


BAD = {
    "no verb": (),
    "unknown verb": ("sellect", "{store}"),
    "unknown flag": (*SELECT, "--bugdet", "5"),
    "no task": ("select", "{store}", "--budget", "5"),
    "no budget": ("select", "{store}", "--task", "maths"),
    "path that is no store": ("inspect", "{tmp}"),
    "path of a file": ("inspect", "{store}/manifest.json"),
    "missing path": ("inspect", "{tmp}/nowhere"),
    "empty path": ("inspect", ""),
    "very long path": ("inspect", "x" * 300),
    "null in a path": ("inspect", "a\0b"),
    "missing path to select from": ("select", "{tmp}/nowhere", "--task", "t", "--budget", "5"),
    "unknown task": change("--task", "math"),
    "task with no examples": change("--task", "empty"),
    "budget 0": change("--budget", "0"),
    "budget below 0": change("--budget", "-1"),
    "budget above the pool": change("--budget", "61"),
    "budget above the valid": change("--budget", "58"),
    "budget of letters": change("--budget", "abc"),
    "budget empty": change("--budget", ""),
    "budget with a comma": change("--budget", "1,5%"),
    "budget of half a sample": change("--budget", "2.5"),
    "budget above 100 %": change("--budget", "5000%"),
    "budget of 0 %": change("--budget", "0%"),
    "budget below 0 %": change("--budget", "-5%"),
    "budget of 0 tokens": change("--budget", "0tok"),
    "budget of too few tokens": change("--budget", "4tok"),
    "budget of very many": change("--budget", "9" * 400),
    "unknown method": change("--method", "topk"),
    "unknown fill": change("--fill", "random"),
    "unknown direction": change("--common-direction", "gone"),
    "ridge below 0": change("--ridge", "-1"),
    "ridge nan": change("--ridge", "nan"),
    "ridge inf": change("--ridge", "inf"),
    "ridge of letters": change("--ridge", "abc"),
    "seed below 0": change("--seed", "-1"),
    "no rounds": change("--max-rounds", "0"),
    "unreadable pins": change("--pin", "{tmp}/nowhere"),
    "pins are a folder": change("--pin", "{tmp}"),
    "pins are no text": change("--pin", "{binary}"),
    "null in the path of pins": change("--pin", "a\0b"),
    "unknown pin": change("--pin", "{unknown}"),
    "invalid pin": change("--pin", "{invalid}"),
    "more pins than budget": change("--pin", "{many}", "--budget", "2"),
    "pinned and banned": change("--pin", "{one}", "--ban", "{one}"),
    "everything banned": change("--ban", "{all}"),
    "task named twice": (*SELECT, "--task", "maths"),
    "task of weight 0": change("--task", "maths=0,dates=1"),
    "pool without its direction": change("--task", "pool:mean", "--common-direction", "removed"),
    "unknown checkpoint": change("--checkpoint", "step-1=2"),
    "checkpoint without a number": change("--checkpoint", "step-10"),
    "checkpoint of letters": change("--checkpoint", "step-10=x"),
    "checkpoint below 0": change("--checkpoint", "step-10=-1"),
    "checkpoint told twice": (*change("--checkpoint", "step-10=1"), "--checkpoint", "step-10=2"),
    "unknown subtask": change("--subtask-weight", "sum=2"),
    "subtask nan": change("--subtask-weight", "sums=nan"),
    "subtask without a name": change("--subtask-weight", "2"),
    "cap of 0": change("--cap-source", "0"),
    "cap of letters": change("--cap-source", "few"),
    "cap below the pins": change("--cap-source", "1", "--pin", "{many}"),
    "cap per cluster without clusters": change("--cap-cluster", "1"),
    "method that is a list": change("--method", "ids"),
    "name without a list": change("--name", "theirs"),
    "list and budget": change("--ids", "{one}"),
    "list and method": (*LIST, "{one}", "--method", "gtp"),
    "list and ridge": (*LIST, "{one}", "--ridge", "0"),
    "list and seed": (*LIST, "{one}", "--seed", "0"),
    "list and filter": (*LIST, "{one}", "--where", "true"),
    "list and pins": (*LIST, "{one}", "--pin", "{one}"),
    "list and bans": (*LIST, "{one}", "--ban", "{many}"),
    "list and cap": (*LIST, "{one}", "--cap-source", "9"),
    "list and one of each": (*LIST, "{one}", "--one-per-duplicate"),
    "list that is not there": (*LIST, "{tmp}/nowhere"),
    "list that is no text": (*LIST, "{binary}"),
    "list of nothing": (*LIST, "{nothing}"),
    "list of strangers": (*LIST, "{unknown}"),
    "list of invalid samples": (*LIST, "{invalid}"),
    "list that repeats": (*LIST, "{twice}"),
    "list of records without ids": (*LIST, "{records}"),
    "list of numbers": (*LIST, "{numbers}"),
    "name that leaves the folder": (*LIST, "{one}", "--name", "../x"),
    "empty name": (*LIST, "{one}", "--name", ""),
    "where is no SQL": change("--where", "source = "),
    "where is another statement": change("--where", "true; DROP TABLE samples"),
    "where names no column": change("--where", "colour = 'red'"),
    "where closes the bracket": change("--where", "true) OR (true"),
    "where finds nothing": change("--where", "n_tokens < 0"),
    "where reads a file": change("--where", "row IN (SELECT 1 FROM read_csv('/etc/passwd'))"),
    "workspace is a file": change("--workspace", "{one}"),
    "unknown run to export": ("export", "{store}", "nothing", "--out", "{tmp}/out"),
    "run that leaves the folder": ("export", "{store}", "../..", "--out", "{tmp}/out"),
    "unknown format": ("export", "{store}", "{run}", "--format", "xlsx", "--out", "{tmp}/out"),
    "unknown order": ("export", "{store}", "{run}", "--order", "size", "--out", "{tmp}/out"),
    "existing output": ("export", "{store}", "{run}", "--out", "{one}"),
    "output under a file": ("export", "{store}", "{run}", "--out", "{one}/out"),
    "empty output": ("export", "{store}", "{run}", "--out", ""),
    "no output": ("export", "{store}", "{run}"),
    "unknown run to compare": ("compare", "{store}", "{run}", "nothing"),
    "one run to compare": ("compare", "{store}", "{run}"),
    "SQL that is none": ("inspect", "{store}", "--sql", "SELEKT 1"),
    "SQL that writes": ("inspect", "{store}", "--sql", "CREATE TABLE t AS SELECT 1"),
    "SQL that leaves": ("inspect", "{store}", "--sql", "COPY samples TO '{tmp}/out'"),
    "SQL that reads": ("inspect", "{store}", "--sql", "FROM read_text('/etc/passwd')"),
    "serve what is no store": ("serve", "{tmp}/nowhere"),
}


@pytest.fixture(scope="module")
def run(folder) -> str:
    with closing(open_catalog(folder)) as catalog:
        problem = pose(catalog, "maths")
        return save(catalog, problem, select(problem, 3), None)["run"]


@pytest.fixture
def named(folder, run, tmp_path) -> dict[str, str]:
    """What the braces in BAD stand for."""
    ids = [f"id-{row:04d}" for row in range(60)]
    lists = {"unknown": ["nobody"], "invalid": [ids[7]], "one": ids[:1], "all": ids}
    lists |= {"many": ids[:5], "twice": [ids[3], ids[0], ids[3]], "nothing": ["", " "]}
    lists["records"] = ['{"sample_id": "id-0001"}', '{"id": "id-0002"}']
    lists["numbers"] = ['{"sample_ids": [1, 2]}']
    for name, lines in lists.items():
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    paths = {name: str(tmp_path / name) for name in (*lists, "binary")}
    return {**paths, "store": str(folder), "tmp": str(tmp_path), "run": run}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(gtp, named, folder, tmp_path, what):
    words = [word.format_map(named) for word in BAD[what]]
    before = contents(folder), contents(tmp_path)
    status, out, err = gtp(*words, "--json") if words else gtp()
    assert (status, out) == (2, "")
    assert is_one_sentence(err), err
    assert "Traceback" not in err
    assert (contents(folder), contents(tmp_path)) == before


def shorten(folder: Path) -> None:
    path = folder / "gradients" / "step-10" / "part-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def lose(folder: Path) -> None:
    (folder / "samples" / "part-00002.parquet").unlink()


def cut_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])


def other_version(folder: Path) -> None:
    edit_manifest(folder, lambda document: document.update(format_version=2))


def say_nothing_of_gradients(folder: Path) -> None:
    edit_manifest(folder, lambda document: document.update(gradients={}))


BREAKS = (shorten, lose, cut_manifest, other_version, say_nothing_of_gradients)


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_a_damaged_store_is_one_sentence_and_leaves_nothing(gtp, small_store, damage):
    folder = small_store().folder
    damage(folder)
    before = contents(folder)
    for words in (("inspect", folder), ("select", folder, "--task", "maths", "--budget", "5")):
        status, out, err = gtp(*words)
        assert (status, out) == (2, "")
        assert is_one_sentence(err), err
    assert contents(folder) == before


def test_errors_list_what_there_is(gtp, folder, named):
    assert "maths, dates" in gtp(*[w.format_map(named) for w in change("--task", "x")])[2]
    assert "gtp, top-k" in gtp(*[w.format_map(named) for w in change("--method", "x")])[2]
    assert "1 to 57 samples" in gtp(*[w.format_map(named) for w in change("--budget", "61")])[2]
    assert named["run"] in gtp("compare", folder, "x", "y")[2]
    assert "See `python -m gtp_core select --help`." in gtp("select", folder)[2]


def test_a_run_of_another_store_is_refused(gtp, folder, small_store, named):
    other = small_store("other", seed=1)
    with (
        closing(open_catalog(folder)) as mine,
        closing(open_catalog(other)) as theirs,
    ):
        theirs.save_run(*mine.read_run(named["run"]))
    for words in (("compare", other.folder, named["run"], named["run"]),):
        status, out, err = gtp(*words)
        assert (status, out) == (2, "")
        assert is_one_sentence(err)
        assert "another store" in err


def test_bugs_stay_bare(folder, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(stores, "store_facts", broken)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", str(folder)])


def test_an_interrupt_says_so(folder, monkeypatch, gtp):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "store_facts", interrupted)
    status, out, err = gtp("inspect", folder)
    assert (status, out) == (130, "")
    assert is_one_sentence(err)


# --- serve -----------------------------------------------------------------------------------


def test_serve_hands_the_store_to_the_app(gtp, folder, tmp_path, monkeypatch):
    called = {}

    def call(command, env, cwd):
        called.update(command=command, env=env, cwd=cwd)
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.chdir(folder.parent)
    assert gtp("serve", folder.name, "--port", "1234", "--workspace", tmp_path)[0] == 0
    assert called["env"]["GTP_STORE"] == str(folder)
    assert called["env"]["GTP_WORKSPACE"] == str(tmp_path)
    assert called["command"][-2:] == ["--server.port", "1234"]
    assert (Path(called["cwd"]) / "app.py").exists()


def test_an_app_that_fails_is_a_failure(gtp, folder, monkeypatch):
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 1)
    status, out, err = gtp("serve", folder)
    assert (status, out) == (2, "")
    assert is_one_sentence(err)


# --- as a process ----------------------------------------------------------------------------


def test_two_selections_at_once_on_a_store_that_is_not_loaded(small_store):
    folder = small_store().folder
    words = ("select", folder, "--task", "maths", "--json", "--budget")
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda budget: process(*words, budget), ("5", "6")))
    assert [(p.returncode, p.stderr) for p in ended] == [(0, ""), (0, "")]
    runs = {json.loads(p.stdout)["run"] for p in ended}
    with closing(open_catalog(folder)) as catalog:
        assert set(catalog.list_runs()) == runs
        assert len(catalog.query("SELECT * FROM runs")) == 2
    assert not list(folder.glob("loading-*"))


def test_a_refusal_as_a_process(tmp_path):
    ended = process("inspect", tmp_path / "nowhere", "--json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert is_one_sentence(ended.stderr)


def test_a_reader_that_goes_away_is_no_error(folder):
    command = f"{sys.executable} -m gtp_core inspect '{folder}' --json | head -c 10 > /dev/null"
    script = f"{command}; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_weights_and_residuals_print_as_exact_numbers(document, folder, tmp_path):
    words = ("--task", "maths", "--budget", "6", "--workspace", tmp_path)
    answer = document("select", folder, *words)
    assert np.isfinite(answer["weights"]).all()
    assert min(answer["weights"]) > 0
