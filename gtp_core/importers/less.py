"""LESS (Xia et al. 2024): folders of torch matrices, one per training set, task and checkpoint."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gtp_core.errors import SourceError
from gtp_core.importers.common import facts_of, store_name, tasks_of
from gtp_core.importers.folders import listed, matcher
from gtp_core.importers.matrices import stacked
from gtp_core.importers.plan import Plan
from gtp_core.importers.register import Asked, importer
from gtp_core.importers.steps import checkpoints_of
from gtp_core.importers.tensors import TorchRows, torch_rows
from gtp_core.importers.texts import SampleFiles, sample_files
from gtp_core.store import RowSource

_WHOLE = {
    "raw": ("all_unormalized.pt", "all_unormaize.pt", "all_unnormalized.pt"),
    "normalised": ("all_orig.pt",),
}
_SHARD = re.compile(r"grads-(\d+)\.pt")
_DIM = re.compile(r"dim(\d+)")
_USUAL_SAMPLES = "{name}-ckpt{step}-adam"
_USUAL_TASKS = "{name}-ckpt{step}-sgd"
SUBTASKS = {"mmlu": 57, "bbh": 27, "tydiqa": 9}  # LESS's own, hard-coded in its matching
_NOT_CHECKED = (
    "Not checked: rows of samples whose completion was cut away; LESS keeps no token counts."
)


@dataclass(frozen=True)
class _Folder:
    """One folder of LESS: of which set, at which step, of which dimension."""

    path: Path
    name: str
    step: int
    dim: int


@importer("less", signs=("**/all_orig.pt", "**/all_unormalized.pt", "**/grads-*.pt"))
def read_less(source: Path, asked: Asked) -> Plan:
    """LESS: folders of .pt matrices per training set, task and checkpoint."""
    folders = _gradient_folders(source)
    train = _matching(source, folders, asked.train_pattern or _USUAL_SAMPLES, "train")
    tasks = _matching(source, folders, asked.task_pattern or _USUAL_TASKS, "task")
    dim = _dimension([*train, *tasks], asked.dim)
    train, tasks = ([f for f in some if f.dim == dim] for some in (train, tasks))
    if not train:
        raise SourceError(_no_samples(source, folders, asked))
    steps = sorted({folder.step for folder in train})
    rows = _row_kind([*train, *tasks], asked.rows)
    names = list(dict.fromkeys(folder.name for folder in train))
    texts = sample_files(asked.samples, names, line_ids=asked.ids == "line")
    gradients = {f"step-{step}": _pool_rows(train, texts, step, rows) for step in steps}
    found = _task_rows(tasks, steps, rows)
    _refuse_mixed(gradients, found)
    checkpoints, said = checkpoints_of([(f"step-{s}", s) for s in steps], asked)
    wanted, said_of_tasks = tasks_of(found, asked, subtasks=SUBTASKS)
    facts = facts_of(asked, dim=next(iter(gradients.values())).shape[1], kinds=_kinds(asked))
    facts["declared"] |= {**said, "samples": _file_names(texts), **said_of_tasks}
    return Plan(
        format="less",
        name=store_name(source, asked),
        checkpoints=checkpoints,
        samples=texts,
        gradients=gradients,
        tasks=wanted,
        producer={"name": "less", "version": None, "rows": rows},
        notes=(_NOT_CHECKED,),
        inputs=tuple(p for f in [*train, *tasks] for p in sorted(f.path.glob("*.pt"))),
        **facts,
    )


def _kinds(asked: Asked) -> tuple[str, str]:
    """What folder names say: LESS's own tree ends in -adam and -sgd, a pattern may too."""
    samples = asked.train_pattern or _USUAL_SAMPLES
    tasks = asked.task_pattern or _USUAL_TASKS
    return (
        "adam-less" if samples.rstrip("/").endswith("adam") else "unknown",
        "sgd" if tasks.rstrip("/").endswith("sgd") else "unknown",
    )


def _file_names(texts: SampleFiles) -> list[str]:
    return [part.path.name for part in texts.parts]


def _gradient_folders(source: Path) -> list[Path]:
    files = [p for p in sorted(source.rglob("*.pt")) if _is_gradient_file(p.name)]
    return list(dict.fromkeys(path.parent for path in files))


def _is_gradient_file(name: str) -> bool:
    return any(name in names for names in _WHOLE.values()) or _SHARD.fullmatch(name) is not None


def _matching(source: Path, folders: Sequence[Path], pattern: str, default: str) -> list[_Folder]:
    wanted, found = matcher(pattern), []
    for path in folders:
        dim = _DIM.fullmatch(path.name)
        for run in (path.parent, path) if dim else (path,):
            if fits := wanted.fullmatch(run.relative_to(source).as_posix()):
                parts = fits.groupdict()
                name, step = parts.get("name", default), int(parts.get("step", 0))
                found.append(_Folder(path, name, step, int(dim[1]) if dim else _width(path)))
                break
    places = defaultdict(list)
    for folder in found:
        places[folder.name, folder.step, folder.dim].append(folder.path)
    twice = next((paths for paths in places.values() if len(paths) > 1), None)
    if twice:
        raise SourceError(
            f"{twice[0]} and {twice[1]} both fit {pattern!r} as the same set and step. "
            "Give --train-pattern and --task-pattern that tell them apart."
        )
    return found


def _width(folder: Path) -> int:
    """The dimension of a folder whose name does not say it."""
    files = sorted(p for p in folder.glob("*.pt") if _is_gradient_file(p.name))
    return torch_rows(files[0]).dim


def _dimension(folders: Sequence[_Folder], asked: int | None) -> int:
    by_dim = {folder.dim for folder in folders}
    if asked is not None:
        if asked not in by_dim:
            raise SourceError(
                f"--dim is {asked}; the source has {', '.join(map(str, sorted(by_dim)))}. "
                "Choose one of these."
            )
        return asked
    everywhere = [
        dim
        for dim in by_dim
        if len([f for f in folders if f.dim == dim]) == len({(f.name, f.step) for f in folders})
    ]
    return max(everywhere or by_dim or {0})


def _no_samples(source: Path, folders: Sequence[Path], asked: Asked) -> str:
    pattern = asked.train_pattern or _USUAL_SAMPLES
    if not folders:
        return (
            f"{source} holds no all_orig.pt, all_unormalized.pt or grads-N.pt. Give the folder "
            "that LESS's output paths lie in."
        )
    names = [path.relative_to(source).as_posix() for path in folders]
    return (
        f"no folder fits {pattern!r}; there are {listed(names)}. Give --train-pattern and "
        "--task-pattern with {name} and {step} for this tree."
    )


def _row_kind(folders: Sequence[_Folder], asked: str | None) -> str:
    kinds = (*_WHOLE, "shards")
    if asked is not None and asked not in kinds:
        raise SourceError(f"--rows {asked!r} is none of {', '.join(kinds)}. Choose one of these.")
    for kind in [asked] if asked else list(_WHOLE):
        without = [f for f in folders if kind != "shards" and _whole(f.path, kind) is None]
        if not without:
            return kind
    unfinished = [f for f in folders if all(_whole(f.path, kind) is None for kind in _WHOLE)]
    if unfinished and not asked:
        names = listed(sorted(p.name for p in unfinished[0].path.glob("*.pt")))
        raise SourceError(
            f"{unfinished[0].path} has {names} but no merged file, so LESS did not finish it. "
            "Let LESS finish, or pass --rows shards if its last shard ends with the last sample."
        )
    raise SourceError(
        f"{without[0].path} has no {asked or 'raw'} rows as other folders have. "
        "Choose another kind with --rows, or build it again."
    )


def _whole(folder: Path, kind: str) -> Path | None:
    return next((folder / n for n in _WHOLE[kind] if (folder / n).is_file()), None)


def _rows_of(folder: Path, kind: str) -> RowSource:
    if kind == "shards":
        return _shards(folder)
    path = _whole(folder, kind)
    assert path is not None  # as _row_kind saw
    return torch_rows(path)


def _shards(folder: Path) -> RowSource:
    """All shards in order: the number in a name is that of its last row, counted from one."""
    numbered = {
        int(found[1]): path
        for path in folder.glob("grads-*.pt")
        if (found := _SHARD.fullmatch(path.name))
    }
    parts: list[TorchRows] = []
    before = 0
    for last in sorted(numbered):
        part = torch_rows(numbered[last])
        if part.rows != last - before:
            raise SourceError(
                f"{numbered[last]} has {part.rows:,} rows; after row {before:,} its name wants "
                f"{last - before:,}. A shard is missing or of another build: build it again."
            )
        parts.append(part)
        before = last
    if not parts:
        raise SourceError(f"{folder} has no grads-N.pt. Leave --rows shards out.")
    return stacked(parts, f"shards in {folder}")


def _pool_rows(train: Sequence[_Folder], texts: SampleFiles, step: int, rows: str) -> RowSource:
    """The training sets' rows at a step, in the order of their files."""
    by_name = {folder.name: folder.path for folder in train if folder.step == step}
    parts = []
    for file in texts.parts:
        if file.name not in by_name:
            raise SourceError(
                f"training set {file.name} has no folder at step {step}, others have. "
                "Build it, or leave the step out with --train-pattern."
            )
        matrix = _rows_of(by_name[file.name], rows)
        if matrix.shape[0] != file.rows:
            raise SourceError(
                f"{by_name[file.name]} has {matrix.shape[0]:,} rows and {file.path} "
                f"{file.rows:,} samples; every row needs its sample. Give the file that was used, "
                "or finish the build."
            )
        parts.append(matrix)
    return stacked(parts, f"the training sets at step {step}")


def _task_rows(
    tasks: Sequence[_Folder], steps: Sequence[int], rows: str
) -> dict[str, dict[str, RowSource]]:
    by_name: dict[str, dict[int, Path]] = defaultdict(dict)
    for folder in tasks:
        by_name[folder.name][folder.step] = folder.path
    found: dict[str, dict[str, RowSource]] = {}
    for name, folders in sorted(by_name.items()):
        missing = [step for step in steps if step not in folders]
        if missing:
            raise SourceError(
                f"task {name} has no folder at step {missing[0]}, the samples have. "
                "Build it, or leave the task out with --task."
            )
        found[name] = {f"step-{step}": _rows_of(folders[step], rows) for step in steps}
    return found


def _refuse_mixed(
    gradients: Mapping[str, RowSource], tasks: Mapping[str, Mapping[str, RowSource]]
) -> None:
    """LESS's projector on a GPU writes float32 and its other one the model's type.

    Their matrices differ though seed and dimension are the same, so rows of both kinds can not
    be multiplied; the type of the numbers is all that tells.
    """
    wanted = _types(next(iter(gradients.values())))
    for who, matrices in (("samples", gradients), *tasks.items()):
        for step, matrix in matrices.items():
            if _types(matrix) != wanted:
                raise SourceError(
                    f"{who} at {step} are {'/'.join(sorted(_types(matrix)))}, the samples at the "
                    f"first checkpoint {'/'.join(sorted(wanted))}: LESS's two projectors write "
                    "different types and project differently. Build all with one of them."
                )


def _types(matrix: RowSource) -> set[str]:
    if isinstance(matrix, TorchRows):
        return {matrix.kind}
    return {kind for part in getattr(matrix, "parts", ()) for kind in _types(part)}
