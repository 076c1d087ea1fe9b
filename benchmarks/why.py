"""How long a click on the page Why takes.

    python -m benchmarks.why STORE [--task T] [--budget 200] [--clicks 20] [--app]

Chosen and left-out samples are looked at in turn: what the page always says (the sentence, the
neighbours by rank) and what each tab adds, numbers and figures, each computed when it is opened.
Weighing the chosen samples and the whole pool's verdicts are told beside it; the page does the
first once per selection and never the second. With `--app` whole reruns of the page are timed as
the server runs them, without a browser. Seconds are of the wall clock unless `--cpu` is given.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from gtp_core import GTPError, Problem, open_catalog, open_store, pose, select
from gtp_core.catalog import Catalog
from gtp_core.figures import (
    cosines_figure,
    covered_figure,
    examples_figure,
    sample_checkpoints_figure,
    waterfall_figure,
)
from gtp_core.pursuit import Selection
from gtp_core.report import (
    Case,
    Examples,
    Judged,
    because,
    beside_in,
    case,
    contribution,
    covering,
    examples_of,
    forced,
    judge,
    neighbours,
    pulled,
    verdict_table,
    where_it_points,
)

ROOT = Path(__file__).resolve().parent.parent
Clock = Callable[[], float]
Part = Callable[[Catalog, Judged, Case, Examples], object]


def said(catalog: Catalog, known: Judged, one: Case, examples: Examples) -> object:
    """What stands above every tab."""
    again = case(catalog, known, one.sample_id)
    return because(known, again), beside_in(catalog, known, again)


def alike(catalog: Catalog, known: Judged, one: Case, examples: Examples) -> object:
    """The tab Neighbours."""
    near, cosines = neighbours(catalog, known, one)
    names = [one.sample_id, *near["sample_id"]]
    return covered_figure(covering(one), one.chance, "light"), cosines_figure(
        names, cosines, "light"
    )


PARTS: dict[str, Part] = {
    "the sentence": said,
    "Contribution": lambda c, known, one, e: waterfall_figure(contribution(known, one), "light"),
    "Checkpoints": lambda c, known, one, e: sample_checkpoints_figure(
        where_it_points(c, known, one), "light"
    ),
    "Neighbours": alike,
    "Validation side": lambda c, known, one, e: examples_figure(pulled(known, one, e), "light"),
    "If I...": lambda c, known, one, e: forced(known, one.row),
}


def timed(work: Callable[[], object], clock: Clock) -> float:
    """Seconds of one call."""
    start = clock()
    work()
    return clock() - start


def table(name: str, seconds: list[float]) -> None:
    """Print the median, the 95th percentile and the largest."""
    median, high = statistics.median(seconds), float(np.quantile(seconds, 0.95))
    print(f"| {name} | {median:.3f} | {high:.3f} | {max(seconds):.3f} |", flush=True)


def ids_of(catalog: Catalog, problem: Problem, selection: Selection, clicks: int) -> list[str]:
    """Samples in turn: chosen ones, and those of the rest that top-k ranks first."""
    ids = catalog.sample_ids()
    order = np.argsort(-np.nan_to_num(problem.influence), kind="stable")
    left_out = order[~np.isin(order, selection.support)]
    pairs = zip(selection.support[:clicks], left_out[:clicks], strict=False)
    return [str(ids[int(row)]) for pair in pairs for row in pair][:clicks]


def core(catalog: Catalog, problem: Problem, budget: str, clicks: int, clock: Clock) -> list[str]:
    """Time the numbers and figures behind every tab; the ids that were looked at."""
    selection = select(problem, budget)
    once: dict[str, float] = {}
    judge(problem, selection)  # compiles its loops
    once["weighing the chosen (once)"] = timed(lambda: judge(problem, selection), clock)
    once["verdicts of the pool"] = timed(lambda: verdict_table(catalog, problem, selection), clock)
    known, examples = judge(problem, selection), examples_of(catalog, problem)
    names = ids_of(catalog, problem, selection, clicks)
    cases = [case(catalog, known, name) for name in names]
    for name, second in once.items():
        table(name, [second])
    for name, part in PARTS.items():
        clicks = [timed(partial(part, catalog, known, one, examples), clock) for one in cases]
        table(name, clicks)
    return names


def app(folder: Path, workspace: str, task: str, budget: str, names: list[str]) -> None:
    """Time whole reruns of the page, every tab in turn."""
    import streamlit.runtime.scriptrunner.script_runner as script_runner
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.testing.v1 import AppTest

    def run_main(main: str) -> None:
        PagesManager.uses_pages_directory = False
        text = Path(main).read_text("utf-8")
        exec(compile(text, str(main), "exec"), {"__name__": "__main__", "__file__": str(main)})

    script_runner._mpa_v1 = run_main  # AppTest would open the page without app.py
    os.environ |= {"GTP_STORE": str(folder), "GTP_WORKSPACE": workspace}
    sys.path.insert(0, str(ROOT))
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=600)
    page.query_params["task"], page.query_params["exact"] = task, budget
    page.run()
    page.switch_page("pages/why.py").run()
    page.text_input(key="id").set_value(names[0]).run()
    for tab in ("Contribution", "Checkpoints", "Neighbours", "Validation side", "If I…"):
        page.session_state["tab"] = tab
        page.run()
        clicks = []
        for name in names:
            page.text_input(key="id").set_value(name)
            clicks.append(timed(page.run, time.perf_counter))
            assert not page.exception, page.exception[0].value
            assert page.get("plotly_chart") or tab.startswith("If"), "the tab is not open"
        table(f"the whole page, {tab}", clicks)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="How long a click on the page Why takes.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--budget", default="200")
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--app", action="store_true", help="time the page's whole script too")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds in place of the clock's")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as workspace:
            catalog = open_catalog(open_store(asked.store), workspace=workspace)
            task = asked.task or catalog.store.task_names[0]
            problem = pose(catalog, task)
            clock = time.process_time if asked.cpu else time.perf_counter
            print("| what | median, s | 95 %, s | most, s |\n|---|---|---|---|")
            names = core(catalog, problem, asked.budget, asked.clicks, clock)
            catalog.close()
            if asked.app:
                app(asked.store, workspace, task, asked.budget, names)
    except GTPError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
