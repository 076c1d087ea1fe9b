"""From raw gradients to the rows that are projected: adam, adam-less, sgd, sign."""

from dataclasses import dataclass

import torch

ADAM_BETA1 = 0.9
ADAM_BETA2 = 0.999
ADAM_EPS = 1e-8
ROW_KINDS = ("adam", "adam-less", "sgd", "sign")


@dataclass(frozen=True)
class Moments:
    """Adam's state at a checkpoint, end to end in the order of a gradient row.

    Attributes:
        first, second: running means of g and of g squared, (input_dim,).
        step: optimizer steps taken to reach the checkpoint.
        beta2, eps: as the optimizer had them.
    """

    first: torch.Tensor
    second: torch.Tensor
    step: int
    beta2: float = ADAM_BETA2
    eps: float = ADAM_EPS


def gradient_rows(
    gradients: torch.Tensor,
    *,
    kind: str,
    moments: Moments | None = None,
    columns: slice | None = None,
) -> torch.Tensor:
    """Raw gradients (n, width) as the rows that are projected and stored, of the same shape.

    - `sgd`: the gradient itself. `sign`: its signs.
    - `adam`: the step Adam would take without momentum. With v' = b2 v + (1 - b2) g^2 it is
      g / (sqrt(v' / (1 - b2^(t+1))) + eps). Momentum is left out because all samples would share
      it: it made the mean cosine of two samples 0.75 on a pool where it is 0.02 without.
    - `adam-less`: LESS as coded, for parity: (b1 m + (1 - b1) g) / sqrt(v' + 1e-8), momentum in,
      no bias correction, eps inside the root, and b1 = 0.9, b2 = 0.999 whatever the optimizer had.

    Args:
        moments: needed by both kinds of adam.
        columns: which columns of a whole row these are; all of them by default.

    Source: Kingma, Ba (2015), Adam; Xia et al. (2024), LESS, and its collect_grad_reps.py.
    """
    if kind == "sgd":
        return gradients
    if kind == "sign":
        return gradients.sign()
    if kind not in ROW_KINDS or moments is None:
        raise ValueError(f"kind={kind!r}; wanted one of {ROW_KINDS}, adam with its moments")
    columns = columns or slice(None)
    first, second = moments.first[columns], moments.second[columns]
    if kind == "adam-less":
        updated = ADAM_BETA2 * second + (1 - ADAM_BETA2) * gradients.square()
        return (ADAM_BETA1 * first + (1 - ADAM_BETA1) * gradients) / (updated + ADAM_EPS).sqrt()
    # Few passes, in place: a batch of rows is the largest thing in memory.
    correction = 1 - moments.beta2 ** (moments.step + 1)
    root = torch.addcmul(
        second * (moments.beta2 / correction),
        gradients,
        gradients,
        value=(1 - moments.beta2) / correction,
    )
    root.sqrt_().add_(moments.eps)
    return torch.div(gradients, root, out=root)
