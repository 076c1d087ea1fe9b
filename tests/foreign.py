"""Small sources in each producer's exact format, made by code: what the importers are tested on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from gtp_core.importers import Asked

RATES = {15: 0.004, 30: 0.002, 45: 0.001}
STEPS = tuple(RATES)
DIM = 24
MODULES = {"layers.0.lora_A.default": 8, "layers.0.lora_B.default": 12, "layers.1.lora_A": 4}
PROJECTION = {
    "projection_dim": 16,
    "reshape_to_square": False,
    "projection_type": "rademacher",
    "projection_target": "global",
    "projection_scale": "jl",
    "include_bias": False,
    "projection_seed": None,
    "projection_version": 2,
}


@dataclass(frozen=True)
class Source:
    """A foreign store and what is true of it.

    Attributes:
        folder: what to import.
        asked: what a user has to say.
        rows: per checkpoint name, the samples' rows as the producer's files hold them.
        tasks: per task and checkpoint name, the same.
        damage: files that a test may cut or flip.
    """

    folder: Path
    asked: Asked
    rows: Mapping[str, np.ndarray]
    tasks: Mapping[str, Mapping[str, np.ndarray]]
    damage: Sequence[Path] = field(default_factory=tuple)


def some_rows(n: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Rows of very different lengths, float32."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((n, dim)) * generator.lognormal(0, 2, (n, 1))).astype("f4")


def write_samples(path: Path, n: int, first: int = 0) -> list[str]:
    """A training file; its lines."""
    lines = [
        json.dumps(
            {
                "dataset": ("flan", "dolly")[i % 2],
                "id": f"tiny_{first + i}",
                "messages": [
                    {"role": "user", "content": f"Wieviel ist {i}? <b>\u2028日本</b>"},
                    {"role": "assistant", "content": f"=cmd() {first + i}"},
                ],
            },
            ensure_ascii=i % 2 == 0,
        )
        for i in range(n)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def write_examples(path: Path, subtasks: Sequence[str]) -> None:
    """Examples of a task, one for each name of a subtask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        for at, name in enumerate(subtasks):
            messages = [
                {"role": "user", "content": f"Q{at}"},
                {"role": "assistant", "content": f"A{at}"},
            ]
            handle.write(json.dumps({"subtask": name, "messages": messages}) + "\n")


def write_trainer_states(folder: Path) -> Path:
    """Hugging Face checkpoints of three epochs with 15 steps each, as their trainer logs them."""
    for step in STEPS:
        log = [
            {"epoch": s / 15, "learning_rate": RATES[15 * -(-s // 15)], "loss": 1.0, "step": s}
            for s in range(1, step + 1)
        ]
        state = {"epoch": step / 15, "global_step": step, "log_history": log, "max_steps": 45}
        path = folder / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(state))
    return folder


def save_less(
    folder: Path, rows: np.ndarray, dtype: torch.dtype, *, shard: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """One folder as LESS's collect_grad_reps writes it; its raw and its normalised rows."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = torch.from_numpy(rows).to(dtype)
    pieces, normal = [], []
    for start in range(0, len(raw), shard):
        piece = raw[start : start + shard].clone()
        torch.save(piece, folder / f"grads-{min(start + shard, len(raw))}.pt")
        pieces.append(piece)
        normal.append(torch.nn.functional.normalize(piece, dim=1))
    torch.save(torch.cat(pieces), folder / "all_unormalized.pt")
    torch.save(torch.cat(normal), folder / "all_orig.pt")
    return raw.float().numpy(), torch.cat(normal).float().numpy()


def make_less(
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    *,
    tree: str = "grads/{name}-ckpt{step}-{kind}/dim{dim}",
    shard: int = 7,
    dim: int = DIM,
) -> Source:
    """LESS with two training files, three checkpoints, and tydiqa (9 languages x 1)."""
    source = folder / "less"
    for at, (name, n) in enumerate((("alpha", 11), ("beta", 9))):
        write_samples(folder / f"{name}.jsonl", n, 100 * at)
    rows: dict[str, np.ndarray] = {}
    tasks: dict[str, dict[str, np.ndarray]] = {"tydiqa": {}}
    for step in STEPS:
        saved = []
        for at, (name, n) in enumerate((("alpha", 11), ("beta", 9))):
            place = source / tree.format(name=name, step=step, kind="adam", dim=dim)
            saved.append(save_less(place, some_rows(n, step + at, dim), dtype, shard=shard)[0])
        rows[f"step-{step}"] = np.concatenate(saved)
        place = source / tree.format(name="tydiqa", step=step, kind="sgd", dim=dim)
        task = save_less(place, some_rows(9, step + 7, dim), dtype, shard=shard)[0]
        tasks["tydiqa"][f"step-{step}"] = task
    asked = Asked(
        samples=(str(folder / "alpha.jsonl"), str(folder / "beta.jsonl")),
        checkpoints=str(write_trainer_states(folder / "warmup")),
    )
    damage = [folder / "alpha.jsonl", *sorted(source.rglob("all_unormalized.pt"))[:2]]
    return Source(source, asked, rows, tasks, damage)


def less_scores(source: Path, tree: str, task: str, names: Sequence[str]) -> np.ndarray:
    """LESS's matching.py on normalised rows: weighted sum, mean over a subtask, max over them."""
    weights = np.array([RATES[step] for step in STEPS]) / sum(RATES.values())
    total = 0.0
    for weight, step in zip(weights, STEPS, strict=True):

        def load(name: str, kind: str, step: int = step) -> torch.Tensor:
            place = source / tree.format(name=name, step=step, kind=kind, dim=DIM)
            return torch.load(place / "all_orig.pt", weights_only=True).float()

        train = torch.cat([load(name, "adam") for name in names])
        total = total + weight * (train @ load(task, "sgd").T).numpy()
    return total.reshape(len(total), 9, -1).mean(-1).max(-1)


def save_index(
    folder: Path,
    rows: np.ndarray,
    *,
    version: str = "2.5.1",
    kind: str = "float32",
    sizes: Mapping[str, int] = MODULES,
    texts: Sequence[str] = (),
    offsets: Sequence[int] | None = None,
    projection: Mapping[str, object] = PROJECTION,
    optimizer_state: str = "",
) -> np.ndarray:
    """One index folder as a version of bergson writes it; its rows as they are read back."""
    folder.mkdir(parents=True, exist_ok=True)
    number = {"float32": np.float32, "float16": np.float16, "bfloat16": None}[kind]
    stored = (
        torch.from_numpy(rows).bfloat16().view(torch.int16).numpy()
        if number is None
        else rows.astype(number)
    )
    name = "token_gradients.bin" if version == "0.10.1" and offsets is not None else "gradients.bin"
    (folder / name).write_bytes(stored.tobytes())
    old = {"float32": "<f4", "float16": "<f2", "bfloat16": "<V2"}[kind]
    structured = {
        "names": list(sizes),
        "formats": [f"({size},){old}" for size in sizes.values()],
        "itemsize": stored.itemsize * sum(sizes.values()),
    }
    items = len(rows) if offsets is None else len(offsets) - 1
    info: dict[str, object] = {"num_grads": len(rows), "grad_sizes": dict(sizes)}
    if version.startswith("0."):
        info |= {"dtype": structured, "base_dtype": old}
    else:
        info |= {"attribute_tokens": offsets is not None, "num_items": items, "base_dtype": kind}
    if name == "token_gradients.bin":
        info = {"attribute_tokens": True, "total_tokens": len(rows), "num_items": items}
        info |= {"total_grad_dim": sum(sizes.values()), "grad_sizes": dict(sizes)}
        info |= {"base_dtype": kind}
    (folder / "info.json").write_text(json.dumps(info, indent=2))
    if offsets is not None:
        np.save(folder / "offsets.npy", np.asarray(offsets, np.int64))
    index = {"model": "/data/warmup/checkpoint", "optimizer_state": optimizer_state}
    index |= {"data": {"dataset": "/data/all20.jsonl"}}
    if version == "0.4.6":
        (folder / "index_config.json").write_text(json.dumps(index))
        (folder / "processor_config.json").write_text(json.dumps(dict(projection)))
    else:
        document = {
            "steps": [{"build": {"index_cfg": index, "preprocess_cfg": {"unit_normalize": False}}}],
            "metadata": {"bergson_version": version, "created": "2026-11-22T05:01:12+00:00"},
        }
        # JSON is YAML; the files of bergson itself are in block style.
        (folder / "config.yaml").write_text(json.dumps(document))
        (folder / "processor_config.yaml").write_text(json.dumps(dict(projection)))
    save_dataset(folder / "data.hf", items, texts)
    widened = (stored.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return widened if number is None else stored.astype(np.float32)


def save_dataset(folder: Path, items: int, texts: Sequence[str]) -> None:
    """What `Dataset.save_to_disk` writes: an Arrow stream and a state that names it."""
    folder.mkdir(exist_ok=True)
    columns: dict[str, list] = {
        "length": [5 + i for i in range(items)],
        "labels": [[-100, 7, 8] for _ in range(items)],
        "loss": [0.5] * items,
    }
    if texts:
        records = [json.loads(line) for line in texts]
        columns = {key: [record[key] for record in records] for key in records[0]} | columns
    table = pa.table(columns)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=6)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))


def make_bergson(
    folder: Path,
    version: str = "2.5.1",
    kind: str = "float32",
    *,
    per_token: bool = False,
    texts: bool = True,
) -> Source:
    """bergson with an index for samples and for a task at each of three checkpoints."""
    source = folder / "indexes"
    lines = write_samples(folder / "all20.jsonl", 20)
    write_examples(folder / "bbh.jsonl", [f"sub{i // 2}" for i in range(6)])
    examples = (folder / "bbh.jsonl").read_text().splitlines()
    rows: dict[str, np.ndarray] = {}
    tasks: dict[str, dict[str, np.ndarray]] = {"bbh": {}}
    for step in STEPS:
        for name, n, kept in (("train", 20, lines), ("bbh", 6, examples)):
            offsets = [0, *np.cumsum([1 + i % 4 for i in range(n)])] if per_token else None
            raw = some_rows(offsets[-1] if offsets else n, step + n)
            found = save_index(
                source / f"{name}-ckpt{step}",
                raw,
                version=version,
                kind=kind,
                texts=kept if texts else (),
                offsets=offsets,
                optimizer_state="x.pt" if name == "train" else "",
            )
            if offsets:
                found = np.add.reduceat(found.astype(float), offsets[:-1], axis=0)
            (rows if name == "train" else tasks["bbh"])[f"step-{step}"] = found
    asked = Asked(
        samples=() if texts else (str(folder / "all20.jsonl"),),
        task=(f"bbh={folder / 'bbh.jsonl'}",),
        step_size=tuple(f"{step}={rate}" for step, rate in RATES.items()),
    )
    first = source / f"train-ckpt{STEPS[0]}"
    damage = [first / name for name in ("info.json", "gradients.bin", "config.yaml")]
    damage += [first / "data.hf" / name for name in ("state.json", "data-00000-of-00001.arrow")]
    return Source(source, asked, rows, tasks, damage)


def make_trak(folder: Path, dtype: type = np.float16) -> Source:
    """TRAK's save_dir: two models, one experiment; .npy maps called .mmap."""
    source = folder / "store"
    source.mkdir(parents=True)
    write_samples(folder / "pool.jsonl", 20)
    write_examples(folder / "bbh.jsonl", [f"sub{i // 2}" for i in range(6)])
    metadata = {"JL dimension": DIM, "JL matrix type": "rademacher", "train set size": 20}
    (source / "metadata.json").write_text(json.dumps(metadata))
    told = {"bbh": {"num_targets": 6, "scores_path": "/etc/passwd", "scores_finalized": 1}}
    (source / "experiments.json").write_text(json.dumps(told))
    rows, tasks, factors = {}, {"bbh": {}}, []
    for model in range(2):
        state = {str(model): {"is_featurized": 1, "is_finalized": 1}}
        (source / f"id_{model}.json").write_text(json.dumps(state))
        place = source / str(model)
        place.mkdir()
        arrays = {
            "grads": some_rows(20, model) * 1e-3,
            "features": some_rows(20, model + 5) * 1e-2,
            "bbh_grads": some_rows(6, model + 9) * 1e-3,
            "out_to_loss": np.random.default_rng(model).uniform(0.1, 1, (20, 1)),
        }
        for name, array in arrays.items():
            with open(place / f"{name}.mmap", "wb") as handle:
                np.save(handle, array.astype(dtype))
            arrays[name] = array.astype(dtype).astype(float)
        rows[f"model-{model}"] = arrays["features"]
        tasks["bbh"][f"model-{model}"] = arrays["bbh_grads"]
        factors.append(arrays["out_to_loss"])
    mean = np.mean(factors, axis=0)
    rows = {name: matrix * mean for name, matrix in rows.items()}
    asked = Asked(samples=(str(folder / "pool.jsonl"),), task=(f"bbh={folder / 'bbh.jsonl'}",))
    damage = [source / "metadata.json", source / "id_0.json"]
    damage += [source / "0" / f"{name}.mmap" for name in ("features", "bbh_grads", "out_to_loss")]
    return Source(source, asked, rows, tasks, damage)


def make_dattri(folder: Path, storage: str = "uint16") -> Source:
    """dattri's cache: twelve batches in two raw chunks, whose names sort the wrong way round."""
    source = folder / "cache"
    raw = some_rows(24, 3)
    tensor = torch.from_numpy(raw).bfloat16() if storage == "uint16" else torch.from_numpy(raw)
    batches = {str(b): {"start_idx": 2 * b, "sample_count": 2} for b in range(12)}
    (source / "ifvp").mkdir(parents=True)
    document = {"batch_info": batches, "layer_names": ["a"], "layer_dims": [DIM]}
    (source / "batch_metadata.json").write_text(json.dumps(document))
    for first, last in ((0, 9), (10, 11)):
        name = f"chunk_ifvp_{first}_{last}"
        piece = tensor[2 * first : 2 * last + 2]
        data = piece.view(torch.int16) if storage == "uint16" else piece
        (source / "ifvp" / f"{name}.mmap").write_bytes(data.numpy().tobytes())
        entry = {
            "chunk_filename": name,
            "data_type": "ifvp",
            "batch_start": first,
            "batch_end": last,
            "storage_dtype": storage,
            "shape": list(piece.shape),
            "layer_dims": [DIM],
            "batches": [],
            "flush_mode": "async",
        }
        (source / "ifvp" / f"{name}_metadata.json").write_text(json.dumps(entry))
    write_samples(folder / "pool.jsonl", 24)
    write_examples(folder / "bbh.jsonl", [f"sub{i // 2}" for i in range(6)])
    np.save(folder / "bbh.npy", some_rows(6, 11))
    asked = Asked(
        samples=(str(folder / "pool.jsonl"),),
        task=(f"bbh={folder / 'bbh.jsonl'}",),
        task_gradients=(f"bbh={folder / 'bbh.npy'}",),
    )
    rows = {"checkpoint": tensor.float().numpy()}
    damage = [source / "batch_metadata.json", folder / "bbh.npy"]
    damage += sorted((source / "ifvp").iterdir())
    return Source(source, asked, rows, {"bbh": {"checkpoint": some_rows(6, 11)}}, damage)


def save_matrix(path: Path, rows: np.ndarray) -> None:
    """A matrix in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({"gradients": rows}, path)
    else:
        torch.save(torch.from_numpy(rows), path)


def make_arrays(folder: Path, suffix: str = ".npy", samples: str = "jsonl") -> Source:
    """Plain arrays: two checkpoints, two tasks, samples beside them."""
    source = folder / "arrays"
    lines = write_samples(source / "samples.jsonl", 20)
    if samples == "parquet":
        records = [json.loads(line) for line in lines]
        columns = {
            "id": [record["id"] for record in records],
            "prompt": [record["messages"][0]["content"] for record in records],
            "completion": [record["messages"][1]["content"] for record in records],
            "n_tokens": list(range(20)),
        }
        pl.DataFrame(columns).write_parquet(source / "samples.parquet")
        (source / "samples.jsonl").unlink()
    rows, tasks = {}, {"maths": {}, "dates": {}}
    for step in (10, 9):
        name = f"step-{step}"
        rows[name] = some_rows(20, step)
        save_matrix(source / f"{name}{suffix}", rows[name])
        for at, task in enumerate(tasks):
            tasks[task][name] = some_rows(4, step + at + 50)
            save_matrix(source / "tasks" / task / f"{name}{suffix}", tasks[task][name])
    write_examples(source / "tasks" / "maths" / "examples.jsonl", ["b", "a", "b", "a"])
    asked = Asked(step_size=("step-9=1.5", "10=0.5"))
    damage = [source / f"samples.{samples}", source / f"step-9{suffix}"]
    damage += [source / "tasks" / "dates" / f"step-10{suffix}"]
    return Source(source, asked, rows, tasks, damage)


MAKERS: dict[str, Callable[[Path], Source]] = {
    "less": make_less,
    "bergson": make_bergson,
    "trak": make_trak,
    "dattri": make_dattri,
    "arrays": make_arrays,
}
