"""The largest selection whose tokens fit a budget: which sizes to try, as few as will do.

What a selection of so many samples costs in tokens is known only once it has been made, and
nearly a straight line. So the next size is where a line meets the budget (false position), which
comes from one side only; a second size in a row on the same side therefore moves the next one by
1, 2, 4 ... samples at least (galloping: Bentley and Yao 1976). Bisection begins at half as many
samples as of the shortest would fit, often several times what is chosen, and takes three times as
many sizes (`python -m benchmarks.tokens`).
"""

_LINES = 12  # sizes tried by lines; what is left between is halved, whatever the tokens do


class Sizes:
    """What is known of the sizes of selections: `low` fits, and more than `high` do not.

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
