"""Plain arrays: a matrix per checkpoint as npy, safetensors or torch, and a file of samples."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gtp_core.errors import SourceError
from gtp_core.importers.common import facts_of, store_name, tasks_of
from gtp_core.importers.folders import listed, pairs
from gtp_core.importers.matrices import npy_rows, safetensors_rows
from gtp_core.importers.plan import Plan
from gtp_core.importers.register import Asked, importer
from gtp_core.importers.steps import checkpoints_of
from gtp_core.importers.tensors import torch_rows
from gtp_core.importers.texts import sample_files
from gtp_core.store import RowSource

_READERS: dict[str, Callable[[Path], RowSource]] = {
    ".npy": npy_rows,
    ".safetensors": safetensors_rows,
    ".pt": torch_rows,
    ".pth": torch_rows,
    ".bin": torch_rows,
}
_SAMPLES = ("samples.jsonl", "samples.parquet")
_EXAMPLES = ("examples.jsonl", "examples.parquet", "examples.json")


@importer("arrays", signs=tuple(f"*{suffix}" for suffix in _READERS if suffix != ".bin"))
def read_arrays(source: Path, asked: Asked) -> Plan:
    """Plain arrays: a matrix per checkpoint (npy, safetensors, torch) and a file of samples."""
    matrices = _matrices(source)
    if not matrices:
        raise SourceError(
            f"{source} holds no matrix ({', '.join(_READERS)}). Put one per checkpoint into it, "
            "named by its step, and tasks into tasks/NAME/."
        )
    named = sorted(((_plain(path.stem), _step(path.stem)) for path in matrices), key=_by_step)
    by_name = {_plain(path.stem): path for path in matrices}
    gradients = {name: matrix_rows(by_name[name]) for name, _ in named}
    found, examples = _tasks(source, [name for name, _ in named])
    for task, path in pairs("--task-gradients", asked.task_gradients).items():
        found[task] = _given(task, Path(path), [name for name, _ in named])
    checkpoints, said = checkpoints_of(named, asked)
    files = [next((str(source / n) for n in _SAMPLES if (source / n).is_file()), "")]
    texts = sample_files(
        asked.samples or [f for f in files if f],
        ["samples"] if len(asked.samples) < 2 else [],
        line_ids=asked.ids == "line",
    )
    wanted, said_of_tasks = tasks_of(found, _with_examples(asked, found, examples))
    facts = facts_of(asked, dim=next(iter(gradients.values())).shape[1])
    facts["declared"] |= {**said, **said_of_tasks}
    facts["declared"]["samples"] = [part.path.name for part in texts.parts]
    return Plan(
        format="arrays",
        name=store_name(source, asked),
        checkpoints=checkpoints,
        samples=texts,
        gradients=gradients,
        tasks=wanted,
        producer={"name": "arrays", "version": None},
        inputs=tuple(matrices),
        **facts,
    )


def matrix_rows(path: Path) -> RowSource:
    """The matrix in an .npy, .safetensors or torch file.

    Raises:
        SourceError: another suffix, or a file that is not what its suffix says.
    """
    reader: Callable[[Path], RowSource] | None = _READERS.get(path.suffix)
    if reader is None:
        raise SourceError(f"{path} is none of {', '.join(_READERS)}. Save the matrix as one.")
    if not path.is_file():
        raise SourceError(f"{path} is not a file. Give the file of a matrix.")
    return reader(path)


def _matrices(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix in _READERS and p.is_file())
    stems = [_plain(path.stem) for path in found]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise SourceError(f"{folder} holds several matrices called {twice!r}. Leave one of them.")
    return found


def _plain(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "checkpoint"


def _step(stem: str) -> int:
    """The last number in a name; 0 without one."""
    numbers = re.findall(r"\d{1,18}", stem)
    return int(numbers[-1]) if numbers else 0


def _by_step(entry: tuple[str, int]) -> tuple[int, str]:
    return entry[1], entry[0]


def _tasks(
    source: Path, checkpoints: list[str]
) -> tuple[dict[str, dict[str, RowSource]], dict[str, str]]:
    """Tasks in `tasks/NAME/`: a matrix per checkpoint of the same name, and their examples."""
    found: dict[str, dict[str, RowSource]] = {}
    examples: dict[str, str] = {}
    folder = source / "tasks"
    for task in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        by_name = {_plain(path.stem): path for path in _matrices(task)}
        if sorted(by_name) != sorted(checkpoints):
            raise SourceError(
                f"{task} has matrices {listed(sorted(by_name)) or 'none'}; the samples have "
                f"{listed(sorted(checkpoints))}. Give one matrix per checkpoint, of the same name."
            )
        found[task.name] = {name: matrix_rows(by_name[name]) for name in checkpoints}
        file = next((task / name for name in _EXAMPLES if (task / name).is_file()), None)
        if file is not None:
            examples[task.name] = str(file)
    return found, examples


def _given(task: str, path: Path, checkpoints: list[str]) -> dict[str, RowSource]:
    if len(checkpoints) != 1:
        raise SourceError(
            f"--task-gradients {task} gives one matrix; the source has {len(checkpoints)} "
            "checkpoints. Put one matrix per checkpoint into tasks/NAME/ instead."
        )
    return {checkpoints[0]: matrix_rows(path)}


def _with_examples(
    asked: Asked, found: dict[str, dict[str, RowSource]], examples: dict[str, str]
) -> Asked:
    """The user's word on tasks, completed by the example files that lie in the source."""
    told = [text.partition("=") for text in asked.task]
    wanted = {name: path for name, _, path in told} or dict.fromkeys(found, "")
    task = tuple(f"{n}={p or examples.get(n, '')}".rstrip("=") for n, p in wanted.items())
    return replace(asked, task=task)
