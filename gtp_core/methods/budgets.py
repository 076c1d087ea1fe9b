"""Budgets in samples, percent of the pool, or tokens."""

import re

from gtp_core.errors import BudgetError

# Thousands may be grouped by threes and nothing else: "1,5%" is 1.5 % to half of Europe.
_BUDGET = re.compile(r"\s*((?:[0-9]{1,3}(?:[_,][0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?)\s*(%|tok|)\s*")


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
