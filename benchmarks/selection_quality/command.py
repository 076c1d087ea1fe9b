"""The command: computes what is missing, prints and draws what is there."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.selection_quality.drawing import picture
from benchmarks.selection_quality.grounds import Ground, demo_ground, real_ground
from benchmarks.selection_quality.results import gathered
from benchmarks.selection_quality.tables import printed
from benchmarks.selection_quality.trainings import Bench, cells
from benchmarks.selection_quality.ways import MAIN, STUDY
from gtp_core import GTPError

SHARES = (0.5, 1, 2, 5, 10)  # percent of the pool


def computed(ground: Ground, options: argparse.Namespace) -> None:
    """Every cell that is missing, until the time is over."""
    bench, end = Bench(ground, options.work), time.time() + 60 * options.stop_after
    bench.base()
    ways = options.ways.split(",") if options.ways else [*MAIN, *(STUDY if options.study else ())]
    ways = [way.strip().replace("/", ", ") for way in ways]
    tasks = options.only.split(",") if options.only else list(ground.aims)
    shares = [float(share) for share in options.budgets.split(",")]
    todo = list(cells(tasks, ways, shares, options.seeds))
    for number, cell in enumerate(todo):
        if time.time() > end:
            print(f"stopped after {number} of {len(todo)} cells")
            return
        if number and cell.share != todo[number - 1].share:
            print(f"{time.strftime('%H:%M:%S')} {number} of {len(todo)}: {cell}", flush=True)
        bench.cell(cell)
    for seed in range(options.full_seeds):
        bench.full(seed)


def parsed() -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.selection_quality",
        description="Train on what every method chooses, and ask. The package's text says more.",
    )
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--pool", choices=("demo", "real"), default="demo", dest="ground")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budgets", default=",".join(map(str, SHARES)), help="percent")
    parser.add_argument("--ways", help="with commas, a study's comma as a slash")
    parser.add_argument("--only", metavar="TASKS", help="with commas (default: all)")
    parser.add_argument("--study", action="store_true", help="other settings of gtp as well")
    parser.add_argument(
        "--full-seeds", type=int, default=2, help="of the whole pool; 0: not at all"
    )
    parser.add_argument("--stop-after", type=float, default=1e6, help="minutes")
    parser.add_argument("--report", action="store_true", help="compute nothing")
    parser.add_argument("--svg", type=Path, help="draw here")
    real = parser.add_argument_group("a real pool, as benchmarks.real_pool reads it")
    real.add_argument("--samples-from", type=Path, dest="samples_from", metavar="POOL.jsonl")
    real.add_argument("--tasks", type=Path, metavar="FOLDER")
    real.add_argument("--text", type=Path, metavar="FILE", help="what the model is trained on")
    real.add_argument("--minutes", type=float, default=28, help="of training the model")
    real.add_argument("--samples", type=int, default=1200)
    real.add_argument("--counterparts", type=int, default=120)
    return parser.parse_args()


def ground_of(options: argparse.Namespace) -> Ground:
    """The pool that was asked for."""
    if options.ground == "demo":
        return demo_ground(options.work)
    told = {"pool": options.samples_from, "batch_size": 8, "learning_rate": 3e-3}
    told |= {"max_tokens": 160, "dim": 1024, "seed": 0, "unseen": True}
    return real_ground(argparse.Namespace(**{**vars(options), **told}))


def main() -> None:
    """Go on with a trial, and print its tables."""
    options = parsed()
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        ground = ground_of(options)
        if not options.report:
            computed(ground, options)
        table = gathered(options.work)
        printed(table)
        if options.svg:
            options.svg.write_text(picture(table), encoding="utf-8")
    except GTPError as error:
        sys.exit(str(error))
