"""A run as files for training, with the receipt that rebuilds it.

Text of samples is hostile: records leave byte for byte in JSON lines, and CSV cells that a
spreadsheet would run as a formula get an apostrophe in front.
"""

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.errors import ExportError
from gtp_core.report.rebuild import rebuild_command, rebuild_files
from gtp_core.store import to_json, write_json, written_whole

RECEIPT = ".receipt.json"
LEDGER = ".dropped.parquet"
ORDERS = ("rank", "pool")
_FORMULA = r"^\s*[=+\-@\t\r＝＋－＠]"
_PACKAGES = ("numpy", "scipy", "numba", "polars", "duckdb")


@dataclass(frozen=True)
class Export:
    """A run as bytes.

    Attributes:
        name: suggested file name.
        content: the file.
        receipt: the record that is written beside it, as plain JSON types.
    """

    name: str
    content: bytes
    receipt: dict[str, Any]


Format = Callable[[pl.DataFrame], bytes]
FORMATS: dict[str, Format] = {}


def export_format(name: str) -> Callable[[Format], Format]:
    """Register a way to write the chosen rows; the first docstring line is its label."""

    def register(function: Format) -> Format:
        FORMATS[name] = function
        return function

    return register


@export_format("jsonl")
def _jsonl(rows: pl.DataFrame) -> bytes:
    """JSON lines, the original records byte for byte."""
    broken = rows.filter(pl.col("record").str.contains("\n", literal=True))
    if broken.height:
        raise ExportError(
            f"the record of sample {broken['sample_id'][0]!r} holds a line break, so it cannot be "
            "a JSON line. Export as parquet, or rebuild the store."
        )
    if "weight" not in rows.columns:
        return "".join(f"{record}\n" for record in rows["record"]).encode()
    pairs = zip(rows["record"], rows["weight"], strict=True)
    lines = (_with_weight(record, weight) for record, weight in pairs)
    return "".join(f"{line}\n" for line in lines).encode()


@export_format("parquet")
def _parquet(rows: pl.DataFrame) -> bytes:
    """Parquet: sample_id, source, prompt, completion, n_tokens, record."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


@export_format("csv")
def _csv(rows: pl.DataFrame) -> bytes:
    """CSV without the original record; cells that look like formulas are disarmed."""
    return table_csv(rows.drop("record"))


@export_format("ids")
def _ids(rows: pl.DataFrame) -> bytes:
    """Plain text: one sample id a line."""
    return "".join(f"{sample_id}\n" for sample_id in rows["sample_id"]).encode()


@export_format("hf")
def _hf(rows: pl.DataFrame) -> bytes:
    """A folder that `datasets.load_dataset` opens: data/train-00000-of-00001.parquet."""
    return _parquet(rows)


@export_format("less")
def _less(rows: pl.DataFrame) -> bytes:
    """A folder as LESS leaves it: top_p0.05.jsonl (or top_num50.jsonl) and sorted.csv; zipped."""
    chosen = rows.filter("chosen")
    lines = "".join(
        f"{name}, {index}, {round(score, 6)}\n"
        for name, index, score in rows.select("file", "index", "score").iter_rows()
    )
    files = {
        str(rows["top"][0]): _jsonl(chosen),
        "sorted.csv": f"file name, index, score\n{lines}".encode(),
    }
    return _zipped(files)


def _zipped(files: dict[str, bytes]) -> bytes:
    """Files as one zip; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


_SUFFIX = {"jsonl": ".jsonl", "parquet": ".parquet", "csv": ".csv", "ids": ".txt", "hf": ""}
_SUFFIX["less"] = ".zip"


def render(
    catalog: Catalog,
    run_id: str,
    file_format: str,
    *,
    order: str = "rank",
    weights: bool = False,
    name: str | None = None,
) -> Export:
    """A run's samples as bytes in one of FORMATS, with its receipt.

    Args:
        catalog: the open catalog.
        run_id: a saved run.
        file_format: a key of FORMATS.
        order: `rank` (strongest first) or `pool` (as in the store).
        weights: whether to add each sample's weight.
        name: file name for the receipt; by default the run id with the format's suffix.

    Raises:
        RunError: no such run.
        ExportError: unknown format or order, or a run of another store.
    """
    if file_format not in FORMATS:
        raise ExportError(f"format {file_format!r} is unknown; there are {', '.join(FORMATS)}.")
    if order not in ORDERS:
        raise ExportError(f"order {order!r} is unknown; there are {', '.join(ORDERS)}.")
    run, tables = catalog.read_run(run_id)
    if run["store_digest"] != catalog.store.digest:
        raise ExportError(
            f"run {run_id!r} was made on store {run['store_id']}, this is "
            f"{catalog.store.store_id}. Select again on this store."
        )
    rows = _chosen_rows(catalog, tables["selection"], order=order, weights=weights)
    whole = _ranked_pool(catalog, run, tables["selection"], rows) if file_format == "less" else rows
    content = FORMATS[file_format](whole)
    name = name or f"{run_id}{_SUFFIX[file_format]}"
    options: dict[str, Any] = {"format": file_format, "order": order, "weights": weights}
    if file_format == "less":
        options["files"] = {
            inner: hashlib.sha256(data).hexdigest() for inner, data in _unzipped(content).items()
        }
    return Export(name, content, _receipt(catalog, run, rows, content, name, options))


def export_run(
    catalog: Catalog,
    run_id: str,
    path: Path | str,
    *,
    file_format: str = "jsonl",
    order: str = "rank",
    weights: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a run to `path` and its receipt to `path.receipt.json`; the receipt.

    Where duplicates were decided, `path.dropped.parquet` names every sample that went and the kept
    one that stands for it.

    Raises:
        ExportError: the path exists already (unless `overwrite`), or cannot be written.
    """
    path = Path(path)
    receipt_path = _receipt_path(path, overwrite=overwrite)
    export = render(catalog, run_id, file_format, order=order, weights=weights, name=path.name)
    run, tables = catalog.read_run(run_id)
    try:
        if file_format == "hf":
            _write_folder(path, {"data/train-00000-of-00001.parquet": export.content})
        elif file_format == "less":
            _write_folder(path, _unzipped(export.content))
        else:
            with written_whole(path) as temporary:
                temporary.write_bytes(export.content)
        for flag, ids in rebuild_files(run, tables["selection"]).items():
            with written_whole(path.with_name(f"{path.name}.{flag}.txt")) as temporary:
                temporary.write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
        if "dropped" in export.receipt:
            with written_whole(path.with_name(f"{path.name}{LEDGER}")) as temporary:
                temporary.write_bytes(ledger_bytes(ledger_of(catalog)))
        write_json(receipt_path, export.receipt)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ExportError(f"{str(path)!r} cannot be written ({why}). Choose another.") from None
    return export.receipt


def lists_of(catalog: Catalog, run_id: str) -> dict[str, list[str]]:
    """The ids of `pins`, `bans` and `ids` that a run's command reads from files, those there are.

    Raises:
        RunError: no such run.
    """
    run, tables = catalog.read_run(run_id)
    return rebuild_files(run, tables["selection"])


def table_csv(table: pl.DataFrame) -> bytes:
    """A table as CSV; cells that look like formulas are disarmed."""
    text = pl.col(pl.String)
    disarmed = pl.when(text.str.contains(_FORMULA)).then(pl.lit("'") + text).otherwise(text)
    return table.with_columns(disarmed.name.keep()).write_csv(quote_style="always").encode()


def _receipt_path(path: Path, *, overwrite: bool) -> Path:
    """Where the receipt goes; refuses a path that is taken, or that no file can have."""
    try:
        receipt_path = path.with_name(path.name + RECEIPT)
        taken = next((p for p in (path, receipt_path) if p.exists()), None)
    except (OSError, ValueError):  # "/", a name of 300 letters, a null character
        raise ExportError(f"{str(path)!r} can be no file of yours. Choose another path.") from None
    if taken and not overwrite:
        raise ExportError(f"{taken} exists already. Choose another path, or pass --overwrite.")
    return receipt_path


def _chosen_rows(
    catalog: Catalog, selection: pl.DataFrame, *, order: str, weights: bool
) -> pl.DataFrame:
    """The chosen samples with their original record, in the order asked for."""
    wanted = selection.sort("rank" if order == "rank" else "row")
    rows = wanted["row"].cast(pl.UInt32)
    pool = catalog.store.samples().with_row_index("row")
    found = pool.filter(pl.col("row").is_in(rows.implode())).collect()
    table = pl.DataFrame({"row": rows}).join(found, on="row", how="left", maintain_order="left")
    if weights:
        table = table.with_columns(wanted["weight"])
    return table.drop("row")


def _ranked_pool(
    catalog: Catalog, run: dict[str, Any], selection: pl.DataFrame, rows: pl.DataFrame
) -> pl.DataFrame:
    """Every sample of the pool as LESS sorts it: the chosen first, then by influence.

    Columns: file and index (training file and line, from 0, that an import remembers; else the
    store's name and the row), score, chosen, record, and top, the name of the file of lines.
    The score is LESS's influence in a run of top-k; else a sample's weight, 0 for the others.
    """
    n = catalog.store.n_samples
    influence = _influence(catalog, run["task"])
    wanted = catalog.sample_ids().to_frame().with_row_index("row")
    ids = rows.select("sample_id", "record", *(["weight"] if "weight" in rows.columns else []))
    place = ids.with_row_index("place").join(wanted, on="sample_id", how="left")
    weights = np.zeros(n)
    weights[selection["row"].to_numpy()] = selection["weight"].to_numpy()
    score = influence if run["method"] == "top-k" else weights
    table = pl.DataFrame({"row": np.arange(n, dtype=np.uint32), "score": score})
    table = table.with_columns(influence=pl.Series(influence), **_training_lines(catalog, n))
    table = table.join(place.drop("sample_id"), on="row", how="left", maintain_order="left")
    table = table.sort("place", -pl.col("influence"), "row", nulls_last=True)
    share = f"{float(run['budget'][:-1]) / 100:g}" if run["budget"].endswith("%") else ""
    top = f"top_p{share}.jsonl" if share else f"top_num{len(rows)}.jsonl"
    return table.with_columns(pl.col("place").is_not_null().alias("chosen"), top=pl.lit(top))


def _influence(catalog: Catalog, task: str) -> np.ndarray:
    """Influences (n_samples,) on one task; zeros where a run aimed at several or at the pool."""
    known = task in catalog.store.task_names
    found = np.asarray(catalog.influence(task) if known else np.zeros(catalog.store.n_samples))
    return np.where(np.isfinite(found), found, 0.0).astype(np.float64)


def _training_lines(catalog: Catalog, n: int) -> dict[str, pl.Series]:
    """Which line of which training file each sample is."""
    manifest = catalog.store.manifest
    files = manifest.producer.get("files")
    told = files if isinstance(files, list) and all(isinstance(f, dict) for f in files) else []
    pairs = [(str(f.get("name")), int(f.get("rows") or 0)) for f in told]
    if sum(rows for _, rows in pairs) != n:
        pairs = [(manifest.name, n)]
    names = [name for name, rows in pairs for _ in range(rows)]
    lines = [line for _, rows in pairs for line in range(rows)]
    return {"file": pl.Series(names, dtype=pl.String), "index": pl.Series(lines)}


def _with_weight(record: str, weight: float) -> str:
    """The record with one more field at its end; the rest stays byte for byte."""
    try:
        document = json.loads(record)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ExportError(
            "a record of this store is not a JSON object, so it cannot carry a weight. "
            "Export without weights, or as parquet."
        )
    if "gtp_weight" in document:
        return json.dumps({**document, "gtp_weight": weight})
    head = record.rstrip()[:-1].rstrip()
    return f'{head}{", " if document else ""}"gtp_weight": {json.dumps(weight)}}}'


def _receipt(
    catalog: Catalog,
    run: dict[str, Any],
    rows: pl.DataFrame,
    content: bytes,
    name: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    return {
        "file": name,
        "rows": rows.height,
        "tokens": int(np.asarray(rows["n_tokens"]).sum()),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **options,
        "sample_ids": rows["sample_id"].to_list(),
        "run": run,
        **_dropped(catalog, rows),
        "rebuild": rebuild_command(catalog, run, name),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def ledger_of(catalog: Catalog) -> pl.DataFrame:
    """What was decided about duplicates when it was last saved: who went, and for whom."""
    return catalog.query("SELECT * FROM dropped ORDER BY sample_id")


def _dropped(catalog: Catalog, rows: pl.DataFrame) -> dict[str, Any]:
    """For the receipt: how many duplicates went, and how many of those are chosen all the same."""
    gone = ledger_of(catalog)
    if gone.is_empty():
        return {}
    chosen = gone.filter(pl.col("sample_id").is_in(rows["sample_id"].to_list()))
    return {"dropped": {"rows": gone.height, "chosen": chosen.height}}


def ledger_bytes(ledger: pl.DataFrame) -> bytes:
    """The ledger of dropped duplicates as Parquet; a spreadsheet would run ids as formulas."""
    buffer = io.BytesIO()
    ledger.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _write_folder(path: Path, files: dict[str, bytes]) -> None:
    """A folder of files, made beside its place and renamed into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def receipt_bytes(export: Export) -> bytes:
    """The receipt as the file that is written beside the export."""
    return to_json(export.receipt).encode()
