"""Per-sample gradients of LoRA weights: one batched pass, exact, whatever the padding."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from gtp_core.collect.encode import Encoded, mean_losses, pad
from gtp_core.errors import CollectError

ADAM_BETA2 = 0.999
ADAM_EPS = 1e-8
ROW_KINDS = ("adam", "sgd", "sign")


class GradientModel:
    """A causal language model whose trainable weights are those of bias-free linear layers.

    LoRA adapters are such layers. For one of them, the gradient of a sample's loss is the sum
    over its tokens of (gradient at the output) x (input), so an ordinary backward pass over a
    batch holds every sample's own gradient: no loop over samples, and no copy of the weights.

    Attributes:
        model: the model; gradients are taken in evaluation mode (no dropout).
        names: trainable parameters, in the order of a gradient row.
        input_dim: length of a gradient row before projection.

    Source: Goodfellow (2015), Efficient Per-Example Gradient Computations.
    """

    def __init__(self, model: nn.Module, *, pad_id: int) -> None:
        self.model = model
        self._pad_id = pad_id
        self._layers = _trainable_layers(model)
        self.names = tuple(f"{name}.weight" for name in self._layers)
        self.input_dim = sum(layer.weight.numel() for layer in self._layers.values())

    def gradients(self, samples: Sequence[Encoded]) -> torch.Tensor:
        """Gradients (n, input_dim) of each sample's mean completion-token loss."""
        batch = pad(samples, pad_id=self._pad_id)
        labels = batch.pop("labels")
        self.model.eval()
        with _recorded(self._layers) as seen:
            logits = self.model(**batch, use_cache=False).logits
            total = mean_losses(logits, labels).sum()
            outputs = [seen[name][1] for name in self._layers]
            at_outputs = torch.autograd.grad(total, outputs)
        rows = [
            torch.einsum("nto,nti->noi", g, seen[name][0]).flatten(1)
            for name, g in zip(self._layers, at_outputs, strict=True)
        ]
        return torch.cat(rows, dim=1)


def gradient_rows(
    gradients: torch.Tensor,
    *,
    kind: str,
    second_moment: torch.Tensor | None = None,
    step: int = 0,
) -> np.ndarray:
    """Raw gradients (n, input_dim) as the rows that are projected and stored, of the same shape.

    `sgd` is the gradient itself and `sign` its signs. `adam` is the step that Adam would take
    without momentum: with v' = b2 v + (1 - b2) g^2, the row is g / (sqrt(v' / (1 - b2^(t+1))) +
    eps). Momentum is left out because all samples would share it: it made the mean cosine of two
    samples 0.75 on a pool where it is 0.02 without.

    Args:
        second_moment: Adam's v at the checkpoint, (input_dim,); `adam` needs it.
        step: optimizer steps taken to reach the checkpoint (t).

    Source: Kingma, Ba (2015), Adam; Xia et al. (2024), LESS, section 3.1.
    """
    if kind == "sgd":
        return gradients.numpy()
    if kind == "sign":
        return gradients.sign().numpy()
    if kind != "adam" or second_moment is None:
        raise ValueError(f"kind={kind!r}; wanted one of {ROW_KINDS}, and 'adam' with its moment")
    moment = ADAM_BETA2 * second_moment + (1 - ADAM_BETA2) * gradients.square()
    root = (moment / (1 - ADAM_BETA2 ** (step + 1))).sqrt()
    return (gradients / (root + ADAM_EPS)).numpy()


def flat(tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> torch.Tensor:
    """The named tensors end to end, in the order of a gradient row."""
    return torch.cat([tensors[name].flatten() for name in names])


def _trainable_layers(model: nn.Module) -> dict[str, nn.Linear]:
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    }
    covered = {f"{name}.weight" for name in layers}
    others = [n for n, p in model.named_parameters() if p.requires_grad and n not in covered]
    if others or not layers:
        found = others[0] if others else "no trainable weight"
        raise CollectError(
            f"{found} is not the weight of a linear layer; gradients are collected for LoRA "
            "adapters of linear layers only. Train a LoRA adapter without biases or saved modules."
        )
    return layers


@contextmanager
def _recorded(
    layers: Mapping[str, nn.Linear],
) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Inputs and outputs (n, length, width) of every layer during the forward passes inside."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keeper(name: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen[name] = (inputs[0].detach(), output)

        return keep

    handles = [layer.register_forward_hook(keeper(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
