"""Promises of gtp_core.export: the bytes that leave are the ones that came, and a true receipt."""

import csv
import hashlib
import io
import json
import shlex
from contextlib import closing
from errno import ENOSPC
from pathlib import Path

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import build_store

from gtp_core import export as export_module
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.cli import main
from gtp_core.errors import ExportError, RunError
from gtp_core.export import FORMATS, export_run, rebuild_command, receipt_bytes, render
from gtp_core.methods import METHODS, Settings, select
from gtp_core.report import given, save

LONG = "lang " * 40_000
TEXTS = [
    "plain",
    "héllo 日本語 “quoted” \u202eback",
    "line\nline\r\nline",
    "line\u2028paragraph\u2029next\u0085end",
    "nul\x00nul",
    '=HYPERLINK("http://evil.example","x")',
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\t=1+1",
    "👩‍👩‍👧‍👦 🏳️‍🌈 𝒳",
    LONG,
    "  +1\t-1",
    'say "no", please; --',
]
RECORDS = [json.dumps({"prompt": text, "n": i}, ensure_ascii=False) for i, text in enumerate(TEXTS)]
RECORDS[0] = '{ "b" : 1.50 , "a":1e400, "a":2, "none":null }  '
RECORDS[4] = '{"prompt":"nul\\u0000nul","completion":null}'
RECORDS[8] = '{"half":"\\ud83d","deep":[[[{}]]],"é":"\\u00e9"}'
IDS = ["-1", "=id", "ünï", "a b", *(f"id-{i}" for i in range(4, len(TEXTS)))]
FORMULAS = {"-1", "=id", TEXTS[5], TEXTS[7], TEXTS[10], "@SUM(A1)"}


def hard_table(rows) -> pl.DataFrame:
    """Samples that hold everything hard."""
    return pl.DataFrame(
        {
            "sample_id": [IDS[i] for i in rows],
            "source": [("@SUM(A1)", "日本", "", "plain")[i % 4] for i in rows],
            "prompt": [TEXTS[i] for i in rows],
            "completion": [TEXTS[-1 - i] for i in rows],
            "n_tokens": [i + 1 for i in rows],
            "record": [RECORDS[i] for i in rows],
        },
        schema_overrides={"n_tokens": pl.Int64},
    )


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """The catalog of a store that holds everything hard, and a run that chose all of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", hard_table)
        n = len(TEXTS)
        folder = tmp_path_factory.mktemp("hard") / "store"
        store = build_store(folder, n=n, part_rows=(5, n - 5), invalid={}, duplicates={})
    catalog = open_catalog(store)
    problem = pose(catalog, "maths")
    everything = save(catalog, problem, select(problem, n, method="top-k"), None)["run"]
    yield catalog, everything
    catalog.close()


@pytest.fixture
def saved(own_catalog):
    """A catalog to write to, and a small run of GTP."""
    problem = pose(own_catalog, "maths", pins=["id-0011"])
    selection = select(problem, 6, settings=Settings(fill="influence"))
    return own_catalog, save(own_catalog, problem, selection, None)["run"]


def ranked(catalog, run_id) -> list[int]:
    return catalog.read_run(run_id)[1]["selection"]["row"].to_list()


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# --- golden bytes ----------------------------------------------------------------------------


def test_json_lines_are_the_records_byte_for_byte(hard):
    catalog, run_id = hard
    in_pool = "".join(f"{record}\n" for record in RECORDS).encode()
    assert render(catalog, run_id, "jsonl", order="pool").content == in_pool
    by_rank = "".join(f"{RECORDS[row]}\n" for row in ranked(catalog, run_id)).encode()
    assert render(catalog, run_id, "jsonl").content == by_rank
    assert by_rank != in_pool


def test_csv_is_the_texts_with_formulas_disarmed(hard):
    def cell(text) -> str:
        armed = f"'{text}" if text in FORMULAS else str(text)
        return '"' + armed.replace('"', '""') + '"'

    catalog, run_id = hard
    table = hard_table(range(len(TEXTS))).drop("record")
    lines = [table.columns, *table.iter_rows()]
    golden = "".join(",".join(map(cell, line)) + "\n" for line in lines).encode()
    assert render(catalog, run_id, "csv", order="pool").content == golden


def test_no_cell_of_the_csv_starts_a_formula(hard):
    content = render(*hard, "csv").content.decode()
    csv.field_size_limit(len(content))
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert len(rows) == 1 + len(TEXTS)
    starts = {cell.lstrip()[:1] for row in rows for cell in row}
    assert not starts & set("=+-@＝＋－＠")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t1", "\r1", " =1", "\n=1", "＝1", "﹢"])
def test_every_start_of_a_formula_is_disarmed(text):
    rows = pl.DataFrame({"prompt": [text], "record": ["{}"]})
    cell = FORMATS["csv"](rows).decode().partition("\n")[2]
    assert cell.startswith("\"'") == (text != "﹢")


def test_parquet_comes_back_as_it_went(hard):
    catalog, run_id = hard
    content = render(catalog, run_id, "parquet", order="pool").content
    assert pl.read_parquet(io.BytesIO(content)).equals(hard_table(range(len(TEXTS))))


def test_ids_are_one_a_line(hard):
    assert render(*hard, "ids", order="pool").content == ("\n".join(IDS) + "\n").encode()


def test_an_hf_folder_is_parquet_where_datasets_looks_for_it(hard, tmp_path):
    export_run(*hard, tmp_path / "set", file_format="hf", order="pool")
    assert files_of(tmp_path) == ["set.receipt.json", "set/data/train-00000-of-00001.parquet"]
    read = pl.read_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    assert read.equals(hard_table(range(len(TEXTS))))


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_run_gives_the_same_bytes(hard, file_format):
    assert render(*hard, file_format) == render(*hard, file_format)


# --- weights and order -----------------------------------------------------------------------


def test_weights_join_the_record_and_leave_the_rest_as_it_is(hard):
    catalog, run_id = hard
    weights = catalog.read_run(run_id)[1]["selection"].sort("row")["weight"].to_list()
    lines = render(catalog, run_id, "jsonl", order="pool", weights=True).content.decode()
    for line, record, weight in zip(lines.split("\n")[:-1], RECORDS, weights, strict=True):
        assert json.loads(line)["gtp_weight"] == weight
        assert line.startswith(record.rstrip()[:-1].rstrip())
        rest = {k: v for k, v in json.loads(line).items() if k != "gtp_weight"}
        assert rest == json.loads(record)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ("{}", '{"gtp_weight": 0.5}'),
        ('{"a":1}\r', '{"a":1, "gtp_weight": 0.5}'),
        ('{"gtp_weight": 3, "a": "é"}', '{"gtp_weight": 0.5, "a": "\\u00e9"}'),
    ],
)
def test_a_weight_is_one_more_field(record, line):
    rows = pl.DataFrame({"record": [record], "weight": [0.5]})
    assert FORMATS["jsonl"](rows) == f"{line}\n".encode()


@pytest.mark.parametrize("record", ["[1]", "text", "", "3", "[" * 100_000])
def test_a_record_that_is_no_object_carries_no_weight(record, says):
    rows = pl.DataFrame({"record": [record], "weight": [0.5]})
    with pytest.raises(ExportError) as error:
        FORMATS["jsonl"](rows)
    says(error.value, "not a JSON object")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_weights_are_a_column(saved, file_format):
    catalog, run_id = saved
    content = render(catalog, run_id, file_format, weights=True).content
    read = pl.read_csv if file_format == "csv" else pl.read_parquet
    selection = catalog.read_run(run_id)[1]["selection"]
    table = read(io.BytesIO(content))
    assert table["weight"].to_list() == selection["weight"].to_list()
    assert table["sample_id"].to_list() == selection["sample_id"].to_list()


def test_orders_hold_the_same_samples(saved):
    catalog, run_id = saved
    by_rank, in_pool = (
        render(catalog, run_id, "ids", order=order).content.decode().split()
        for order in ("rank", "pool")
    )
    assert by_rank == catalog.read_run(run_id)[1]["selection"]["sample_id"].to_list()
    assert in_pool == sorted(by_rank)


# --- the receipt -----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_receipt_is_true(saved, tmp_path, file_format):
    catalog, run_id = saved
    path = tmp_path / "out"
    told = export_run(catalog, run_id, path, file_format=file_format, weights=True)
    receipt = json.loads((tmp_path / "out.receipt.json").read_text(encoding="utf-8"))
    assert receipt == told
    file = path / "data" / "train-00000-of-00001.parquet" if file_format == "hf" else path
    if file_format == "less":  # a folder of two files; the receipt is of both and of their zip
        digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.iterdir()}
        assert receipt["files"] == digests
        content = render(catalog, run_id, "less", weights=True).content
    else:
        content = file.read_bytes()
    run, tables = catalog.read_run(run_id)
    samples = catalog.texts(tables["selection"]["row"].to_numpy())
    assert receipt["file"] == "out"
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert receipt["bytes"] == len(content)
    assert receipt["rows"] == len(receipt["sample_ids"]) == run["n_selected"]
    assert receipt["sample_ids"] == samples["sample_id"].to_list()
    assert receipt["tokens"] == samples["n_tokens"].sum()
    assert (receipt["format"], receipt["order"], receipt["weights"]) == (file_format, "rank", True)
    assert receipt["run"] == run
    assert receipt["run"]["store_id"] == catalog.store.store_id
    assert receipt["run"]["settings"]["pins"] == ["id-0011"]
    assert receipt["versions"]["numpy"] == np.__version__


def test_the_receipt_of_the_app_is_the_receipt_of_the_command(saved, tmp_path):
    catalog, run_id = saved
    export_run(catalog, run_id, tmp_path / f"{run_id}.jsonl")
    shown = render(catalog, run_id, "jsonl")
    assert shown.content == (tmp_path / shown.name).read_bytes()
    assert receipt_bytes(shown) == (tmp_path / f"{shown.name}.receipt.json").read_bytes()


REBUILT = [
    "--budget 6",
    "--budget 10% --method top-k",
    "--budget 300tok --ridge 0 --fill influence",
    "--budget 6 --method random --seed 3",
    "--budget 12 --max-rounds 1",
    "--budget 6 --common-direction kept --where \"source <> 'flan' AND -n_tokens < -9\"",
    "--budget 6 --where='-n_tokens < -9'",
    "--budget 6 --pin {folder}/pins.txt --ban {folder}/bans.txt",
    "--budget 6 --method top-k --cap-source 2 --one-per-duplicate --pin {folder}/pins.txt",
    "--budget 6 --task dates=0.3 --tolerance 0.25",
    "--budget 6 --checkpoint step-10=0 --checkpoint step-0=0.1 --subtask-weight maths/sums=0.7",
    "--budget 6 --task pool:mean",
    "--ids {folder}/pins.txt --name theirs --checkpoint step-10=0",
    "--ids {folder}/pins.txt --common-direction kept",
]


@pytest.mark.parametrize("options", REBUILT)
def test_the_command_on_the_receipt_chooses_the_same(
    small_store, tmp_path, monkeypatch, capsys, options
):
    folder = tmp_path / "it's a store"
    small_store(folder.name)
    (tmp_path / "pins.txt").write_text("id-0011\nid-0009\n", encoding="utf-8")
    (tmp_path / "bans.txt").write_text("id-0001\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(options.format(folder=tmp_path))
    assert main(["select", str(folder), "--task", "maths", *words, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    with closing(open_catalog(folder)) as catalog:
        receipt = export_run(catalog, first["run"], tmp_path / "out.jsonl")
        catalog.delete_run(first["run"])
        # What the curator pins and bans afterwards does not change the rebuilding.
        catalog.edit("ban", who="me", sample_id=first["sample_ids"][-1])
    (tmp_path / "pins.txt").unlink()
    (tmp_path / "bans.txt").unlink()
    command = shlex.split(receipt["rebuild"])
    assert command[:3] == ["python", "-m", "gtp_core"]
    assert main([*command[3:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["sample_ids"] == receipt["sample_ids"] == first["sample_ids"]
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


def test_the_command_names_every_setting_that_a_flag_can_set(saved):
    catalog, run_id = saved
    words = shlex.split(rebuild_command(catalog, catalog.read_run(run_id)[0], "out.jsonl"))
    dials = [f"--{name.replace('_', '-')}" for name in vars(Settings())]
    for flag in ("--task", "--budget", "--method", *dials):
        assert flag in words


def test_a_list_lies_beside_its_export_in_its_own_order(own_catalog, tmp_path):
    listed = ["id-0030", "id-0002", "id-0044"]
    posed = pose(own_catalog, "maths")
    run = save(own_catalog, posed, given(own_catalog, posed, listed), None)
    export_run(own_catalog, run["run"], tmp_path / "out", file_format="ids", order="pool")
    assert (tmp_path / "out").read_text().split() == sorted(listed)
    assert (tmp_path / "out.ids.txt").read_text().split() == listed


def test_a_record_of_two_lines_is_no_json_line(small_store, tmp_path):
    rows = pl.DataFrame({"record": ["{}", "{\n}"], "sample_id": ["a", "b"]})
    with pytest.raises(ExportError, match="record of sample 'b' holds a line break"):
        FORMATS["jsonl"](rows)


# --- what is refused, and what is left behind ------------------------------------------------


@pytest.mark.parametrize("taken", ["out.jsonl", "out.jsonl.receipt.json"])
def test_nothing_is_overwritten_unless_asked(saved, tmp_path, says, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(ExportError) as error:
        export_run(*saved, tmp_path / "out.jsonl")
    says(error.value, taken, "exists already")
    assert (tmp_path / taken).read_text() == "mine"
    assert [p for p in files_of(tmp_path) if p.startswith("out")] == [taken]
    export_run(*saved, tmp_path / "out.jsonl", overwrite=True)
    assert (tmp_path / taken).read_text() != "mine"


def test_an_hf_folder_replaces_another_only_when_asked(saved, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    with pytest.raises(ExportError):
        export_run(*saved, tmp_path / "set", file_format="hf")
    assert (tmp_path / "set" / "mine").exists()
    export_run(*saved, tmp_path / "set", file_format="hf", overwrite=True)
    assert files_of(tmp_path / "set") == ["data/train-00000-of-00001.parquet"]


@pytest.mark.parametrize("file_format", ["jsonl", "hf"])
@pytest.mark.parametrize("name", ["a file/out", "", "/", ".", "x" * 300, "nul\x00", "\ud800"])
def test_a_path_that_cannot_be_written_is_one_sentence(
    hard, tmp_path, monkeypatch, says, name, file_format
):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("mine")
    before = files_of(tmp_path)
    with pytest.raises(ExportError) as error:
        export_run(*hard, name, file_format=file_format, overwrite=True)
    says(error.value)
    assert files_of(tmp_path) == before


def test_a_run_of_another_store_is_refused(saved, small_store, tmp_path, says):
    catalog, run_id = saved
    with closing(open_catalog(small_store("other", seed=1))) as other:
        other.save_run(*catalog.read_run(run_id))
        with pytest.raises(ExportError) as error:
            export_run(other, run_id, tmp_path / "out.jsonl")
        says(error.value, run_id, catalog.store.store_id, other.store.store_id)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("run_id", ["gtp-none", "../../etc", "", ".", "a/b", "x" * 400])
def test_an_unknown_run_is_refused_with_the_runs_there_are(hard, tmp_path, says, run_id):
    with pytest.raises(RunError) as error:
        export_run(hard[0], run_id, tmp_path / "out.jsonl")
    says(error.value, hard[1])


@pytest.mark.parametrize("what", [{"file_format": "xlsx"}, {"order": "size"}])
def test_unknown_choices_are_refused_with_the_choices_there_are(hard, tmp_path, says, what):
    with pytest.raises(ExportError) as error:
        export_run(*hard, tmp_path / "out", **what)
    says(error.value, "pool" if "order" in what else "parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("trouble", [OSError(ENOSPC, "No space left"), KeyboardInterrupt()])
def test_what_is_cut_short_leaves_nothing(hard, tmp_path, monkeypatch, says, file_format, trouble):
    real = Path.write_bytes

    def half(self, content):
        real(self, content[: len(content) // 2])
        raise trouble

    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(Path, "write_bytes", half)
    wanted = ExportError if isinstance(trouble, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as error:
        export_run(*hard, folder / "set", file_format=file_format)
    if wanted is ExportError:
        says(error.value, "No space left")
    assert list(folder.iterdir()) == []


def test_a_failed_replacement_leaves_the_old_file(saved, tmp_path, monkeypatch):
    export_run(*saved, tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()

    def fail(source, target):
        raise OSError(ENOSPC, "No space left")

    monkeypatch.setattr(export_module.written_whole.__globals__["os"], "replace", fail)
    with pytest.raises(ExportError):
        export_run(*saved, tmp_path / "out.jsonl", order="pool", overwrite=True)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert [p for p in files_of(tmp_path) if p.startswith((".out", "out"))] == [
        "out.jsonl",
        "out.jsonl.pins.txt",
        "out.jsonl.receipt.json",
    ]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_run_of_nothing_is_an_empty_file(small_store, tmp_path, file_format):
    with closing(open_catalog(small_store())) as catalog:
        away = catalog.sample_ids()[int(np.nanargmin(catalog.influence("dates")))]
        problem = pose(catalog, "dates", where=f"sample_id = '{away}'")
        run = save(catalog, problem, select(problem, 1), None)
        receipt = export_run(catalog, run["run"], tmp_path / "out", file_format=file_format)
        assert (receipt["rows"], receipt["tokens"], receipt["sample_ids"]) == (0, 0, [])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_exported(own_catalog, tmp_path, method):
    problem = pose(own_catalog, "dates")
    run = save(own_catalog, problem, select(problem, 4, method=method), None)
    assert export_run(own_catalog, run["run"], tmp_path / "out.jsonl")["rows"] == 4
