"""Budgets in samples, percent of the pool, or tokens."""

import re

from gtp_core.errors import BudgetError

# Thousands may be grouped by threes and nothing else: "1,5%" is 1.5 % to half of Europe.
_BUDGET = re.compile(r"\s*((?:[0-9]{1,3}(?:[_,][0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?)\s*(%|tok|)\s*")

_LINES = 12  # sizes tried by lines; what is left between is halved, whatever the tokens do


def parse_budget(budget: str | int) -> tuple[float, str]:
    """Amount and unit (`""` samples, `"%"`, `"tok"`) of a budget.

    Raises:
        BudgetError: it is none of `500`, `5%`, `200000tok`.
    """
    found = _BUDGET.fullmatch(str(budget))
    if not found or not found[1]:
        raise BudgetError(
            f"budget={str(budget)!r} is no budget; give samples (500), percent of the pool (5%) "
            "or tokens (200000tok)."
        )
    amount, unit = float(found[1].replace("_", "").replace(",", "")), found[2]
    if unit != "%" and not amount.is_integer():
        raise BudgetError(f"budget={budget}; samples and tokens come whole. Give a whole number.")
    return amount, unit


def samples_of(budget: str | int, n_samples: int, n_candidates: int) -> int:
    """The number of samples a budget in samples or percent of the pool means.

    Raises:
        BudgetError: less than one sample, or more than may be chosen.
    """
    amount, unit = parse_budget(budget)
    if unit == "%" and not 0 < amount <= 100:
        raise BudgetError(
            f"budget={budget}; a percentage of the pool is above 0 and at most 100 %."
        )
    count = round(amount / 100 * n_samples) if unit == "%" else int(amount)
    if unit == "%":
        count = min(max(count, 1), n_candidates)
    if not 1 <= count <= n_candidates:
        raise BudgetError(
            f"budget={budget}; this store has 1 to {n_candidates:,} samples to choose from."
        )
    return count


class Sizes:
    """Which sizes of a selection to solve until the largest whose tokens fit is known.

    What a selection of so many samples costs in tokens is known only once it has been made, and
    nearly a straight line. So the next size is where a line meets the budget (false position),
    which comes from one side only; a second size in a row on the same side therefore moves the
    next one by 1, 2, 4 ... samples at least (galloping: Bentley and Yao 1976). Bisection begins at
    half as many samples as of the shortest would fit, often several times what is chosen, and
    takes three times as many sizes (`python -m benchmarks.tokens`).

    Args:
        budget: tokens there may be.
        low: a size that fits.
        used: its tokens.
        high: no larger size fits.
        rate: tokens a sample, as a first guess.
    """

    def __init__(self, budget: int, low: int, used: int, high: int, rate: float) -> None:
        self.low, self.high = low, high
        self._budget, self._used, self._rate = budget, used, rate
        self._over: int | None = None  # tokens of the size above `high`, where it was tried
        self._fitted, self._run, self._tried = True, 0, 0
        self._halve = False

    def next(self) -> int:
        """The size to try: above `low` and at most `high`; `low` must be below `high`."""
        self._tried += 1
        if self._halve or self._tried > _LINES:
            return (self.low + self.high + 1) // 2
        size = self._met()
        if self._run > 1:
            step = 1 << (self._run - 2)
            size = max(size, self.low + step) if self._fitted else min(size, self.high + 1 - step)
        return min(max(size, self.low + 1), self.high)

    def _met(self) -> int:
        """Where a line meets the budget; it may lie beyond what is left."""
        rate = self._rate
        if self._over is not None:
            rate = (self._over - self._used) / (self.high + 1 - self.low)
        left = self._budget - self._used
        # Where no sample costs anything all that may be is the answer.
        return self.high if left >= rate * (self.high - self.low) else self.low + int(left / rate)

    def tell(self, size: int, used: int) -> None:
        """The tokens of a selection of this size."""
        fits = used <= self._budget
        self._run = self._run + 1 if fits == self._fitted else 1
        self._fitted, self._halve = fits, False
        if fits:
            self.low, self._used = size, used
            if self._over is None:
                self._rate = used / size
        else:
            self.high, self._over = size - 1, used

    def refused(self, size: int) -> None:
        """No selection of this size can be made, so that its tokens are not known."""
        self.high, self._over, self._halve = size - 1, None, True
