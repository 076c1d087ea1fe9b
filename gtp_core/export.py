"""A run as files for training, with the receipt that rebuilds it.

Text of samples is hostile: records leave byte for byte in JSON lines, and CSV cells that a
spreadsheet would run as a formula get an apostrophe in front.
"""

import hashlib
import io
import json
import shutil
import tempfile
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
    text = pl.col(pl.String)
    disarmed = pl.when(text.str.contains(_FORMULA)).then(pl.lit("'") + text).otherwise(text)
    table = rows.drop("record").with_columns(disarmed.name.keep())
    return table.write_csv(quote_style="always").encode()


@export_format("ids")
def _ids(rows: pl.DataFrame) -> bytes:
    """Plain text: one sample id a line."""
    return "".join(f"{sample_id}\n" for sample_id in rows["sample_id"]).encode()


@export_format("hf")
def _hf(rows: pl.DataFrame) -> bytes:
    """A folder that `datasets.load_dataset` opens: data/train-00000-of-00001.parquet."""
    return _parquet(rows)


_SUFFIX = {"jsonl": ".jsonl", "parquet": ".parquet", "csv": ".csv", "ids": ".txt", "hf": ""}


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
    content = FORMATS[file_format](rows)
    name = name or f"{run_id}{_SUFFIX[file_format]}"
    options = {"format": file_format, "order": order, "weights": weights}
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

    Raises:
        ExportError: the path exists already (unless `overwrite`), or cannot be written.
    """
    path = Path(path)
    receipt_path = _receipt_path(path, overwrite=overwrite)
    export = render(catalog, run_id, file_format, order=order, weights=weights, name=path.name)
    run, tables = catalog.read_run(run_id)
    try:
        if file_format == "hf":
            _write_folder(path, export.content)
        else:
            with written_whole(path) as temporary:
                temporary.write_bytes(export.content)
        for flag, ids in rebuild_files(run, tables["selection"]).items():
            with written_whole(path.with_name(f"{path.name}.{flag}.txt")) as temporary:
                temporary.write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
        write_json(receipt_path, export.receipt)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ExportError(f"{str(path)!r} cannot be written ({why}). Choose another.") from None
    return export.receipt


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
        "rebuild": rebuild_command(catalog, run, name),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def _write_folder(path: Path, content: bytes) -> None:
    """A `datasets` folder, made beside its place and renamed into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        (temporary / "data").mkdir()
        (temporary / "data" / "train-00000-of-00001.parquet").write_bytes(content)
        temporary.chmod(0o755)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def receipt_bytes(export: Export) -> bytes:
    """The receipt as the file that is written beside the export."""
    return to_json(export.receipt).encode()
