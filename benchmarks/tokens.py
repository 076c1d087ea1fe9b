"""A budget in tokens: how long the search for its size takes, against bisection over all sizes.

    python -m benchmarks.tokens [STORE] [--shares 0.5 1 5] [--methods gtp top-k] [--task T]

Both make whole selections and read nothing but their tokens. Bisection is what was done before: it
begins at half as many as the shortest samples that fit. Both must end at a selection that fits
where one of a sample more does not, which is asserted first; where tokens rise with the size, as
top-k's do, that is one and the same, which is asserted too. Seconds are of one call.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.stages import compile_loops
from gtp_core import Problem, open_catalog, pose, select
from gtp_core.methods import METHODS
from gtp_core.methods.budgets import Sizes

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
RISING = ("top-k", "random", "k-center")
HEAD = "| method | tokens | samples, either way | bisection, s | lines, s | sizes solved | ratio |"


class Halving(Sizes):
    """Sizes by bisection."""

    def next(self) -> int:
        """The middle of what is left."""
        return (self.low + self.high + 1) // 2


class Search(NamedTuple):
    """Samples that a budget holds, the seconds it took to find out, and the sizes solved for it."""

    samples: int
    seconds: float
    solved: int


def searched(problem: Problem, tokens: int, method: str, sizes: type[Sizes]) -> Search:
    """A selection by one of the two searches; that no larger one fits is asserted."""
    solved: list[int] = []

    class Counted(sizes):  # type: ignore[misc, valid-type]
        def tell(self, size: int, used: int) -> None:
            solved.append(size)
            super().tell(size, used)

    start = time.perf_counter()
    with patch("gtp_core.methods.choose.Sizes", Counted):
        chosen = select(problem, f"{tokens}tok", method=method)
    seconds = time.perf_counter() - start
    assert problem.tokens[chosen.support].sum() <= tokens, method
    if len(chosen.support) == chosen.budget:  # else fewer explain the target
        more = select(problem, chosen.budget + 1, method=method).support
        assert problem.tokens[more].sum() > tokens, method
    return Search(len(chosen.support), seconds, len(solved))


def lines(problem: Problem, shares: list[float], methods: list[str]) -> Iterator[str]:
    """A row of the table for each method and budget, in percent of the pool's tokens."""
    for method in methods:
        for share in shares:
            tokens = round(share / 100 * int(problem.tokens.sum()))
            halved = searched(problem, tokens, method, Halving)
            drawn = searched(problem, tokens, method, Sizes)
            assert halved.samples == drawn.samples or method not in RISING, (method, halved, drawn)
            yield (
                f"| {method} | {tokens:,} | {halved.samples:,}, {drawn.samples:,} "
                f"| {halved.seconds:.2f} | {drawn.seconds:.2f} | {halved.solved}, {drawn.solved} "
                f"| {halved.seconds / drawn.seconds:.1f} |"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", default=str(DEMO))
    parser.add_argument("--task", help="by default the store's first")
    parser.add_argument("--workspace")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 1.0, 5.0])
    parser.add_argument("--methods", nargs="+", default=["gtp", "top-k"], choices=sorted(METHODS))
    options = parser.parse_args()
    compile_loops()
    with ExitStack() as stack:
        folder = options.workspace or stack.enter_context(tempfile.TemporaryDirectory())
        catalog = stack.enter_context(closing(open_catalog(options.store, workspace=folder)))
        task = options.task or catalog.store.task_names[0]
        problem = pose(catalog, task, n_splits=0)
        print(HEAD)
        print("|---" * HEAD.count(" | ") + "|---|")
        for line in lines(problem, options.shares, options.methods):
            print(line, flush=True)


if __name__ == "__main__":
    main()
