"""The command line that makes a run again, and the lists of ids it reads."""

import shlex
from typing import Any

import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.methods import Settings
from gtp_core.report.given import GIVEN


def rebuild_command(catalog: Catalog, run: dict[str, Any], name: str) -> str:
    """The `select` command that makes this run again.

    It leaves the edit log aside: the pins and bans of the run are in `name.pins.txt` and
    `name.bans.txt`, which are written beside the export when there are any. A run whose samples
    were given takes them from `name.ids.txt`.
    """
    settings = run["settings"]
    words = ["python", "-m", "gtp_core", "select", str(catalog.store.folder)]
    words += _posing_words(run["task"], settings)
    if run["method"] == GIVEN:
        words += ["--ids", f"{name}.ids.txt"]
        words += ["--name", settings["name"]] if settings["name"] else []
        return shlex.join(words)
    words += ["--budget", run["budget"], "--method", run["method"]]
    return shlex.join([*words, *_choosing_words(settings, name)])


def path_words(problem: Problem, settings: Settings) -> list[str]:
    """The options with which `path STORE` prepares the budgets of a problem.

    Pins and bans come from the edit log, as they did when the problem was posed.
    """
    used = {**problem.settings, **vars(settings)}
    return [*_posing_words(used["task"], used), *_deciding_words(used)]


def _posing_words(task: str, settings: dict[str, Any]) -> list[str]:
    words = ["--task", task, "--common-direction", settings["common_direction"]]
    if settings.get("gradients", "unit") != "unit":
        words += ["--gradients", settings["gradients"]]
    for flag, setting in (("checkpoint", "checkpoints"), ("subtask-weight", "subtask_weights")):
        # With an equals sign, as where a value may begin with a minus.
        words += [f"--{flag}={key}={value!r}" for key, value in settings.get(setting, {}).items()]
    return words


def _choosing_words(settings: dict[str, Any], name: str) -> list[str]:
    """The options that decide who is chosen; a run says nothing of settings younger than it."""
    words = [*_deciding_words(settings), "--ignore-edits"]
    for flag in ("pin", "ban"):
        words += [f"--{flag}", f"{name}.{flag}s.txt"] if settings[f"{flag}s"] else []
    return words


def _deciding_words(settings: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for dial in vars(Settings()):
        flag, value = dial.replace("_", "-"), settings.get(dial)
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    caps = settings.get("caps", {})
    for kind in ("source", "cluster"):
        words += [f"--cap-{kind}", str(caps[kind])] if kind in caps else []
    words += ["--one-per-duplicate"] if "duplicate" in caps else []
    words += [f"--where={settings['where']}"] if settings["where"] else []
    return words


def rebuild_files(run: dict[str, Any], selection: pl.DataFrame) -> dict[str, list[str]]:
    """The lists of ids that the command reads: `pins`, `bans` and `ids`, those there are.

    Args:
        run: the run's document.
        selection: its table of chosen samples.
    """
    settings = run["settings"]
    found = {flag: settings.get(flag, []) for flag in ("pins", "bans")}
    if run["method"] == GIVEN:
        found["ids"] = selection.sort("rank")["sample_id"].to_list()
    return {flag: ids for flag, ids in found.items() if ids}
