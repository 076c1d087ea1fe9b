"""Every method on a real pool, with a language model trained on the spot: nothing is downloaded.

    python -m benchmarks.real_pool POOL.jsonl --tasks FOLDER --work FOLDER [--text FILE]
        [--minutes 10] [--samples 4000] [--counterparts 0] [--methods gtp,top-k] [--report]

`FOLDER/<task>/validation.jsonl` holds the examples of a task (`subset` names subtasks). Parts,
each kept in --work and skipped when it is there, so that a stopped trial goes on:

1. model: a small Llama and its tokenizer, trained for --minutes on --text (samples of the pool left
   out, and with --unseen all of the tasks' own sources, which it is then to learn from the pool)
   or, without it, on a seeded half of the pool, which then stays out of the store;
2. pool: a seeded draw of --samples, with --counterparts at least so many of every task's own
   sources (a small draw would hold too few to choose from); prompts longer than half of
   --max-tokens lose their beginning, so that something of every completion is learned;
3. store: by the command `collect`, four checkpoints of a LoRA warm-up;
4. cells: for each way to choose, task and budget one file: held-out match and ceiling as in
   `benchmarks.quality`, and how many of the chosen are from the task's counterpart sources.

Test examples, where there are any, are left in `tests/` of --work for the command `verify`, but for
those whose shortened prompt is a validation example's. Last come the tables: reliability of every
task, match / ceiling, precision. The ways are computed from the cheapest to the dearest, over all
tasks; --report prints what is there.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import AUTO, OF_GTP, match, parts_of, report
from benchmarks.real_model import trained_model
from gtp_core import Catalog, Settings, open_catalog, pose, select
from gtp_core.errors import BudgetError
from gtp_core.report import cosine, reliability, tuned
from gtp_core.store import write_json, written_whole
from gtp_core.store.manifest import MANIFEST

SHARES = (0.5, 1, 2, 5)  # percent of the pool
SPLITS = 2
COUNTERPARTS = {"gsm8k": ("gsm8k", "flan_cot_gsm8k"), "alfworld": ("alfworld_traj",)}
RELATED = ("flan_cot_aqua", "mawps", "svamp", "alfred_plan")
WAYS: tuple[str, ...] = ("top-k", "random", "gtp", "gtp each", "omp", "grad-match", "gtp uniform")
WAYS += (AUTO, "k-center", "craig")
COLLECT = {"rank": 8, "alpha": 32, "threads": 1}
Rows = list[dict[str, Any]]


def read_lines(path: Path) -> Rows:
    """The records of a JSON lines file."""
    with open(path, encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def write_lines(path: Path, rows: Rows) -> None:
    """Records as JSON lines, written whole."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode())


def drawn(options: argparse.Namespace) -> tuple[Rows, Rows]:
    """What the model is trained on, and the samples that may be in the store, both shuffled."""
    text, rest = _shuffled(options)
    return text, rest[: options.samples]


def left_over(options: argparse.Namespace, count: int, path: Path) -> None:
    """Write samples that are neither in the store nor trained on, as tests are written."""
    from gtp_core.collect.model import load_tokenizer

    tokenizer, most = load_tokenizer(options.work / "model"), options.max_tokens // 2
    rows = _shuffled(options)[1][options.samples :][:count]
    write_lines(path, [_pair(tokenizer, row, most) for row in rows])


def _shuffled(options: argparse.Namespace) -> tuple[Rows, Rows]:
    """What the model is trained on and what it is not, in the order they are drawn in."""
    pool, generator = read_lines(options.pool), random.Random(options.seed)
    generator.shuffle(pool)
    if options.text:
        if options.counterparts:
            pool = _with_counterparts(pool, options.counterparts, options.samples)
        known = {row["id"] for row in pool}
        text = [row for row in read_lines(options.text) if row["id"] not in known]
        if options.unseen:
            own = {*RELATED, *(name for names in COUNTERPARTS.values() for name in names)}
            text = [row for row in text if row["source"] not in own]
        generator.shuffle(text)
        return text, pool
    middle = len(pool) // 2
    return pool[:middle], pool[middle:]


def _with_counterparts(pool: Rows, least: int, samples: int) -> Rows:
    """The same order, but enough of every task's counterpart sources among the first samples."""
    named = [[row for row in pool if row["source"] in names] for names in COUNTERPARTS.values()]
    wanted = {row["id"] for rows in named for row in rows[:least]}
    first = [row for row in pool if row["id"] in wanted]
    rest = [row for row in pool if row["id"] not in wanted]
    cut = max(0, samples - len(first))
    front = {row["id"] for row in first + rest[:cut]}
    return [r for r in pool if r["id"] in front] + rest[cut:]


def shortened(tokenizer: Any, prompt: str, most: int) -> str:
    """The end of a prompt, at most so many tokens of it."""
    found = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    starts = [begin for begin, _ in found["offset_mapping"]]
    return prompt if len(starts) <= most else prompt[starts[-most] :]


# --- the parts ------------------------------------------------------------------------------


def laid_out(options: argparse.Namespace, samples: Rows) -> None:
    """Write samples, validation examples and test examples as `collect` and `verify` read them."""
    from gtp_core.collect.model import load_tokenizer

    tokenizer, most = load_tokenizer(options.work / "model"), options.max_tokens // 2
    for path in sorted(options.tasks.glob("*/validation.jsonl")):
        task, test = path.parent.name, path.with_name("test.jsonl")
        examples = [_pair(tokenizer, row, most) for row in read_lines(path)]
        write_lines(options.work / "tasks" / f"{task}.jsonl", examples)
        known = {example["prompt"].casefold() for example in examples}
        asked = [_pair(tokenizer, row, most) for row in read_lines(test)] if test.is_file() else []
        apart = [row for row in asked if row["prompt"].casefold() not in known]
        write_lines(options.work / "tests" / f"{task}.jsonl", apart)
    rows = [_pair(tokenizer, row, most) for row in samples]
    write_lines(options.work / "pool.jsonl", rows)


def _pair(tokenizer: Any, row: dict[str, Any], most: int) -> dict[str, str]:
    return {
        "id": row["id"],
        "source": row.get("source", ""),
        "subtask": row.get("subset", ""),
        "prompt": shortened(tokenizer, row["prompt"], most),
        "completion": row["completion"],
    }


def collected(options: argparse.Namespace) -> None:
    """Make the store with the command a user would give."""
    words = [sys.executable, "-m", "gtp_core", "collect", "--name", "real"]
    words += ["--model", str(options.work / "model"), "--pool", str(options.work / "pool.jsonl")]
    words += ["--out", str(options.work / "store"), "--dim", str(options.dim)]
    words += ["--max-tokens", str(options.max_tokens)]
    for path in sorted((options.work / "tasks").glob("*.jsonl")):
        words += ["--task", f"{path.stem}={path}"]
    told = {"batch-size": options.batch_size, "learning-rate": options.learning_rate}
    for flag, value in (COLLECT | told).items():
        words += [f"--{flag}", str(value)]
    subprocess.run(words, check=True)


# --- the cells ------------------------------------------------------------------------------


def cells(catalog: Catalog, folder: Path, ways: list[str], budgets: list[int]) -> None:
    """Compute every cell that is not there: way by way, over all tasks and budgets."""
    halves = {task: parts_of(catalog, task, SPLITS) for task in catalog.store.task_names}
    for way, task, budget in ((w, t, b) for w in ways for t in halves for b in budgets):
        path = folder / f"{task}.{way.replace(' ', '_')}.{budget}.json"
        if path.is_file():
            continue
        start, parts = time.process_time(), halves[task]
        try:
            found = float(np.mean([match(part, rest, budget, way) for part, rest in parts]))
            rows, note = chosen_rows(catalog, task, budget, way)
        except BudgetError:  # more than this method takes at once
            continue
        ceiling = float(np.mean([cosine(part.target, rest) for part, rest in parts]))
        cell = {"task": task, "way": way, "budget": budget, "match": found, "ceiling": ceiling}
        cell |= {"rows": rows, "note": note, "cpu": round(time.process_time() - start, 1)}
        write_json(path, cell)
        print(task, way, budget, round(found, 4), note, f"{cell['cpu']} s", flush=True)


def chosen_rows(catalog: Catalog, task: str, budget: int, way: str) -> tuple[list[int], str]:
    """Whom a way chooses with all validation examples, and the ridge where it looked for one."""
    problem = pose(catalog, task, n_splits=SPLITS)
    if way == AUTO:
        settings = tuned(problem, budget, method="gtp", settings=Settings()).settings
        return select(problem, budget, settings=settings).support.tolist(), f"{settings.ridge:g}"
    settings = OF_GTP.get(way, Settings())
    method = way if way not in OF_GTP else "gtp"
    return select(problem, budget, method=method, settings=settings).support.tolist(), ""


# --- the tables -----------------------------------------------------------------------------


def tables(catalog: Catalog, folder: Path) -> None:
    """Print reliability, held-out match and precision of what has been computed."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    known = {(c["task"], c["budget"], c["way"]): c for c in found}
    ways = [way for way in WAYS if any(c["way"] == way for c in found)]
    budgets = sorted({c["budget"] for c in found})
    print("\n| task | examples | split-half cosine | reliability |\n|---|---|---|---|")
    for task in catalog.store.task_names:
        n = next(t.n_examples for t in catalog.store.manifest.tasks if t.name == task)
        told = reliability(pose(catalog, task, n_splits=10), n)
        if told:
            print(f"| {task} | {n} | {told.split_half:.3f} | {told.full:.3f} |")
    places = [(t, b) for t in catalog.store.task_names for b in budgets]
    _table("match / ceiling", places, ways, known, lambda cell: cell["match"] / cell["ceiling"])
    sources = catalog.query("SELECT source FROM samples ORDER BY row")["source"].to_numpy()
    planted = [(t, b) for t, b in places if t in COUNTERPARTS]
    _table(
        "precision",
        planted,
        ways,
        known,
        lambda c: float(np.isin(sources[c["rows"]], COUNTERPARTS[c["task"]]).mean()),
    )
    for task, names in COUNTERPARTS.items():
        print(f"base rate of {task}'s counterpart: {np.isin(sources, names).mean():.3f}")
    report([(f"{t} {b}", _shares(known, t, b, ways)) for t, b in places])


def _shares(known: dict[Any, Any], task: str, budget: int, ways: list[str]) -> dict[str, float]:
    cells = ((way, known.get((task, budget, way))) for way in ways)
    return {way: cell["match"] / cell["ceiling"] for way, cell in cells if cell}


def _table(name: str, places: Any, ways: list[str], known: Any, number: Any) -> None:
    print(f"\n| {name}: task | budget | {' | '.join(ways)} |\n{'|---' * (2 + len(ways))}|")
    for task, budget in places:
        row = [known.get((task, budget, way)) for way in ways]
        texts = [f"{number(cell):.3f}" if cell else "" for cell in row]
        print(f"| {task} | {budget} | {' | '.join(texts)} |")


# --- the command ----------------------------------------------------------------------------


def steps(options: argparse.Namespace) -> Iterator[str]:
    """Make what is missing, part by part; the name of each that was made."""
    work = options.work
    if not (work / "model" / "card.json").is_file():
        text, _ = drawn(options)
        trained_model(text, work / "model", minutes=options.minutes, seed=options.seed)
        yield "model"
    if not (work / "pool.jsonl").is_file():
        _, samples = drawn(options)
        laid_out(options, samples)
        yield "pool"
    if not (work / "store" / MANIFEST).is_file():
        collected(options)
        yield "store"


def main() -> None:
    """Go on with a trial, and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", type=Path, metavar="POOL.jsonl")
    parser.add_argument("--tasks", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what the model is trained on")
    parser.add_argument("--unseen", action="store_true", help="but not the tasks' own sources")
    parser.add_argument("--minutes", type=float, default=10, help="of training the model")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--counterparts", type=int, default=0, help="at least, of every task")
    parser.add_argument("--batch-size", type=int, default=16, help="of the warm-up")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the warm-up")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(WAYS), help="ways to choose, with commas")
    parser.add_argument("--report", action="store_true", help="compute no more cells")
    options = parser.parse_args()
    for part in steps(options):
        print(f"made: {part}", flush=True)
    catalog = open_catalog(options.work / "store", workspace=options.work / "workspace")
    size = catalog.store.n_samples
    budgets = [max(1, round(share / 100 * size)) for share in SHARES]
    if not options.report:
        cells(catalog, options.work / "cells", options.methods.split(","), budgets)
    tables(catalog, options.work / "cells")
    catalog.close()


if __name__ == "__main__":
    main()
