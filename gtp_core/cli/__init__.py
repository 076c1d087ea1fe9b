"""The commands: `python -m gtp_core VERB`. Exit 0; 2 for what the user can mend; 1 for a bug."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from gtp_core.cli import choosing, collecting, importing, neighbors, paths, runs, stores, verifying
from gtp_core.cli.common import Answer
from gtp_core.errors import GTPError


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, not a screen of usage."""

    def error(self, message: str) -> NoReturn:
        raise GTPError(f"{message}. See `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        options = _parser().parse_args(arguments)
        answer, lines = options.run(options)
        print(json.dumps(answer, ensure_ascii=False) if options.json else "\n".join(lines))
        sys.stdout.flush()
    except GTPError as error:
        print(f"gtp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gtp: interrupted; nothing was left half-made.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> _Parser:
    parser = _Parser(prog="python -m gtp_core", description="Choose fine-tuning samples jointly.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (help_text, arguments, run) in VERBS.items():
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        arguments(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON document")
        verb.set_defaults(run=run)
    return parser


Arguments = Callable[[argparse.ArgumentParser], None]
Verb = tuple[str, Arguments, Callable[[argparse.Namespace], Answer]]
VERBS: dict[str, Verb] = {
    "demo": ("rebuild the bundled demo store from nothing", stores.demo_arguments, stores.demo),
    "import": (
        "bring in a store that another tool made",
        importing.import_arguments,
        importing.import_foreign,
    ),
    "collect": (
        "make a store from a model, a pool and tasks",
        collecting.collect_arguments,
        collecting.collect,
    ),
    "inspect": (
        "say what is in a store, and its health",
        stores.inspect_arguments,
        stores.inspect,
    ),
    "select": (
        "choose samples and save the run",
        choosing.select_arguments,
        choosing.select_samples,
    ),
    "path": ("solve every budget of the slider once", paths.path_arguments, paths.path),
    "compare": ("put two to four runs side by side", runs.compare_arguments, runs.compare_runs),
    "neighbors": (
        "build the nearest-neighbour graph of a store",
        neighbors.neighbors_arguments,
        neighbors.neighbors,
    ),
    "duplicates": (
        "find clusters of duplicates and say who is kept",
        neighbors.duplicates_arguments,
        neighbors.find_duplicates,
    ),
    "export": ("write a run's samples and a receipt", runs.export_arguments, runs.export),
    "verify": (
        "train on each run's samples and ask the task's test examples",
        verifying.verify_arguments,
        verifying.verify_runs,
    ),
    "serve": ("open the app on a store", stores.serve_arguments, stores.serve),
}
