"""Commands in processes of their own, forked from one that has the slow imports behind it.

Torch, transformers and peft take 5 s of a core to import, which a test of what a process leaves
when it is killed, or of how much memory it needs, has no reason to pay each time.
"""

import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["torch", "accelerate", "peft", "transformers.models.llama.modeling_llama"]
)


def begin(
    arguments: Sequence[str], told: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start `python -m gtp_core ARGUMENTS`.

    What it says goes to `told`.out and `told`.err, and the most memory it had, in kB, to
    `told`.peak.
    """
    process = _server.Process(target=_run, args=(list(arguments), told, dict(environment or {})))
    main = sys.modules["__main__"]
    # The new process would run this one's script, and Streamlit's tests leave the app's in place.
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def _run(arguments: list[str], told: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    for stream, suffix in ((1, ".out"), (2, ".err")):
        with open(told.with_suffix(suffix), "wb") as file:
            os.dup2(file.fileno(), stream)
    from gtp_core.cli import main  # it has threads, which a fork would not have

    try:
        sys.exit(main(arguments))
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told.with_suffix(".peak").write_text(str(peak))
