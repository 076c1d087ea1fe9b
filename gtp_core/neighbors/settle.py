"""Groups too large for all their pairs: the rows that stay in them are compared with each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gtp_core.neighbors.complete import Compare
from gtp_core.neighbors.groups import Groups, Splits, apart_codes, partly_seen
from gtp_core.neighbors.keepers import Decision

_AT_ONCE = 256  # rows that are compared with the kept ones in one go


@dataclass
class Comparer:
    """How alike first copies are on one basis, exactly, and how many pairs may still be compared.

    Attributes:
        compare: rows of first copies, pair by pair.
        left: how many pairs may be compared yet.
    """

    compare: Compare
    left: int

    def __call__(self, one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
        """How alike they are, or None where that would be more than may be compared."""
        if len(one) > self.left:
            return None
        self.left -= len(one)
        return self.compare(one, other)


def settled(
    groups: dict[str, Groups],
    decide: Callable[[dict[str, Groups]], Decision],
    comparers: Mapping[str, Callable[[np.ndarray], Comparer]],
    splits: Splits,
) -> Decision:
    """A decision in which rows that stay in a large group were compared with each other.

    First every group is gone through as if it were alone, best first: a row that is like none of
    its leaders so far is the next one. Then all that stay are compared until nothing is new, since
    a leader may go for a row that it is like on another basis.

    Args:
        groups: by basis.
        decide: the decision that groups give.
        comparers: by basis, what compares these rows; without one, nothing is compared.
        splits: pairs of rows that do not stand for each other.
    """
    decision = decide(groups)
    large = {basis: partly_seen(found) for basis, found in groups.items()}
    large = {basis: mask for basis, mask in large.items() if mask.any()}
    works = {
        basis: _Work(groups[basis], mask, comparers[basis], splits, decision)
        for basis, mask in large.items()
        if basis in comparers
    }
    while True:
        new = [work.go(decision.stays) for work in works.values()]
        if not any(new):
            break
        decision = decide(groups | {basis: work.joined() for basis, work in works.items()})
    unmet = np.zeros(decision.n_samples, bool)
    inside = np.zeros(decision.n_samples, bool)
    for basis, mask in large.items():
        inside |= mask
        met = works[basis].met if basis in works else np.zeros(decision.n_samples, bool)
        unmet |= mask & decision.stays & ~met[groups[basis].likeness.copies]
    return replace(decision, partly=int(inside.sum()), unmet=int(unmet.sum()))


class _Work:
    """What is found of one basis, round after round.

    `met` marks first copies any two of which, if of one group, were compared.
    """

    def __init__(
        self,
        groups: Groups,
        mask: np.ndarray,
        comparer: Callable[[np.ndarray], Comparer],
        splits: Splits,
        decision: Decision,
    ) -> None:
        self._groups, self._mask = groups, mask
        copies = groups.likeness.copies
        self._apart = apart_codes(copies, splits)
        order = decision.order[mask[decision.order]]
        _, first = np.unique(copies[order], return_index=True)
        self._nodes = copies[order][np.sort(first)]  # first copies, best first
        self._compare = comparer(self._nodes)
        self.met = np.zeros(len(copies), bool)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._begun = False

    def go(self, stays: np.ndarray) -> bool:
        """Compare what is not compared yet; whether pairs were found that nobody knew."""
        copies, label = self._groups.likeness.copies, self._groups.label
        before = len(self._found)
        known = _Known(self._groups)
        if not self._begun:
            self._begun = True
            nodes = self._nodes
            for number in np.unique(label[nodes]):
                self._leaders(nodes[label[nodes] == number], known)
            if self._found:
                return True
        staying = np.zeros(len(copies), bool)
        staying[copies[self._mask & stays]] = True
        fresh = self._nodes[staying[self._nodes] & ~self.met[self._nodes]]
        for node in fresh:
            others = self._nodes[self.met[self._nodes] & (label[self._nodes] == label[node])]
            if not self._against(np.array([node]), others, known)[1]:
                break
            self.met[node] = True
        return len(self._found) > before

    def _leaders(self, nodes: np.ndarray, known: "_Known") -> None:
        """Leaders of one group, best first: each unlike all before it."""
        gone = np.zeros(len(self.met), bool)
        leaders = np.empty(0, np.int64)
        for start in range(0, len(nodes), _AT_ONCE):
            block = nodes[start : start + _AT_ONCE]
            block = block[~gone[block]]
            alike, done = self._against(block, leaders, known)
            gone[block[alike]] = True
            more: list[int] = []
            for place, node in enumerate(block.tolist()):
                if gone[node] or not done:
                    continue
                gone[known.of(node)] = True
                rest = block[place + 1 :][~gone[block[place + 1 :]]]
                alike, done = self._against(rest, np.array([node]), known)
                gone[rest[alike]] = True
                more.append(node)
            leaders = np.concatenate([leaders, np.array(more, np.int64)])
            if not done:
                return
            self.met[leaders] = True

    def _against(
        self, rows: np.ndarray, others: np.ndarray, known: "_Known"
    ) -> tuple[np.ndarray, bool]:
        """Which rows are like any of the others, and whether they could be compared."""
        one, other = np.repeat(rows, len(others)), np.tile(others, len(rows))
        score = self._compare(one, other)
        if score is None:
            return np.zeros(len(rows), bool), False
        low, high = np.minimum(one, other), np.maximum(one, other)
        codes = low * len(self.met) + high
        alike = (score >= self._groups.threshold - 1e-6) & ~np.isin(codes, self._apart)
        new = alike & ~known.has(codes)
        if new.any():
            self._found.append((low[new], high[new], score[new]))
        return np.asarray(alike.reshape(len(rows), len(others)).any(axis=1)), True

    def joined(self) -> Groups:
        """The groups with the pairs that were found."""
        groups, n = self._groups, len(self.met)
        if not self._found:
            return groups
        one, other, score = (np.concatenate(part) for part in zip(*self._found, strict=True))
        _, first = np.unique(one * n + other, return_index=True)
        return replace(
            groups,
            one=np.concatenate([groups.one, one[first]]),
            other=np.concatenate([groups.other, other[first]]),
            score=np.concatenate([groups.score, score[first]]).astype(np.float32),
        )


class _Known:
    """The pairs of groups, looked up by their codes and by either member."""

    def __init__(self, groups: Groups) -> None:
        n = len(groups.label)
        self._codes = np.sort(groups.one * n + groups.other)
        node = np.concatenate([groups.one, groups.other])
        order = np.argsort(node, kind="stable")
        self._others = np.concatenate([groups.other, groups.one])[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(node, minlength=n))])

    def has(self, codes: np.ndarray) -> np.ndarray:
        """Which of these pairs are known."""
        at = np.minimum(np.searchsorted(self._codes, codes), max(len(self._codes) - 1, 0))
        return self._codes[at] == codes if len(self._codes) else np.zeros(len(codes), bool)

    def of(self, node: int) -> np.ndarray:
        """Who is known to be like this one."""
        return self._others[self._starts[node] : self._starts[node + 1]]
