"""Per-sample gradients of LoRA weights: one batched pass, exact, whatever the padding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gtp_core.collect.encode import Encoded, mean_losses, pad
from gtp_core.errors import CollectError

GROUP_COLUMNS = 1 << 22
Take = Callable[[slice, torch.Tensor], None]
"""Takes columns of a batch's gradients: which of a whole row, and their values (n, width)."""


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

    def __init__(self, model: nn.Module, *, pad_id: int, loss_scale: float = 1.0) -> None:
        """`loss_scale` keeps small numbers alive in a float16 backward pass; it is divided out."""
        self.model = model
        self._pad_id = pad_id
        self._loss_scale = loss_scale
        self._layers = _trainable_layers(model)
        self.names = tuple(f"{name}.weight" for name in self._layers)
        self.input_dim = sum(layer.weight.numel() for layer in self._layers.values())
        self.device = next(iter(self._layers.values())).weight.device

    def gradients(self, samples: Sequence[Encoded]) -> torch.Tensor:
        """Gradients (n, input_dim) of each sample's mean completion-token loss."""
        dtype = next(iter(self._layers.values())).weight.dtype
        out = torch.empty((len(samples), self.input_dim), dtype=dtype, device=self.device)

        def take(columns: slice, values: torch.Tensor) -> None:
            out[:, columns] = values

        self.each_group(samples, take)
        return out

    def each_group(self, samples: Sequence[Encoded], take: Take) -> None:
        """The same, handed over some layers at a time while the backward pass goes on.

        A whole batch of gradients never exists: beside the activations there are at most
        len(samples) * max(GROUP_COLUMNS, columns of the widest layer) numbers.
        """
        batch = pad(samples, pad_id=self._pad_id, device=self.device)
        labels = batch.pop("labels")
        self.model.eval()
        groups = [_Group(layers, take, 1 / self._loss_scale) for layers in self._grouped()]
        with _recorded(self.model, groups):
            logits = self.model(**batch, use_cache=False).logits
            total = mean_losses(logits, labels).sum() * self._loss_scale
            total.backward()
        for group in groups:
            group.finish(len(samples))

    def _grouped(self) -> Iterator[list[tuple[int, nn.Linear]]]:
        """Layers with their first column, some at a time; the same whatever the batch."""
        group: list[tuple[int, nn.Linear]] = []
        start = 0
        for layer in self._layers.values():
            stop = start + layer.weight.numel()
            if group and stop - group[0][0] > GROUP_COLUMNS:
                yield group
                group = []
            group.append((start, layer))
            start = stop
        yield group


class _Group:
    """Some layers' gradients of one batch, handed over as soon as all of them are known."""

    def __init__(self, layers: Sequence[tuple[int, nn.Linear]], take: Take, factor: float) -> None:
        self.layers = layers
        self._take = take
        self._factor = factor
        last, layer = layers[-1]
        self._columns = slice(layers[0][0], last + layer.weight.numel())
        self._values: torch.Tensor | None = None
        self._awaited = 0

    def watch(self, start: int, layer: nn.Linear) -> Any:
        """A forward hook for the layer whose first column is `start`."""

        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            given = inputs[0].detach()
            if given.ndim != 3:
                raise CollectError(
                    f"a LoRA layer of shape {tuple(layer.weight.shape)} reads {given.ndim} "
                    "dimensions; samples can be told apart in (n, length, width) only. Leave "
                    "layers that mix samples, such as experts, out of the adapter's targets."
                )
            self._awaited += 1
            output.register_hook(lambda found: self._add(start, layer, given, found))

        return keep

    def finish(self, n: int) -> None:
        """Hand over what no backward pass has reached: layers that were not used, as zeros."""
        if self._values is not None or self._awaited == 0:
            weight = self.layers[0][1].weight
            self._hand_over(self._buffer(n, weight))
        self._awaited = -1

    def _add(self, start: int, layer: nn.Linear, given: torch.Tensor, found: torch.Tensor) -> None:
        values = self._buffer(len(given), layer.weight)
        at = start - self._columns.start
        part = values[:, at : at + layer.weight.numel()].view(len(given), *layer.weight.shape)
        part.baddbmm_(found.to(part.dtype).transpose(1, 2), given.to(part.dtype))
        self._awaited -= 1
        if self._awaited == 0:
            self._hand_over(values)
            self._awaited = -1

    def _buffer(self, n: int, like: torch.Tensor) -> torch.Tensor:
        if self._values is None:
            width = self._columns.stop - self._columns.start
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            self._values = torch.zeros((n, width), dtype=dtype, device=like.device)
        return self._values

    def _hand_over(self, values: torch.Tensor) -> None:
        self._values = None
        self._take(self._columns, values if self._factor == 1 else values.mul_(self._factor))


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
def _recorded(model: nn.Module, groups: Sequence[_Group]) -> Iterator[None]:
    """Inside, a forward and backward pass fills the groups and leaves no gradient behind.

    The weights need no gradient of their own meanwhile, which saves the sums over the batch that
    nobody asked for; the embedding's output stands in as what the backward pass leads to.
    """
    layers = [pair for group in groups for pair in group.layers]
    handles = [_embedding(model).register_forward_hook(_needs_gradient)]
    for group in groups:
        handles += [
            layer.register_forward_hook(group.watch(start, layer)) for start, layer in group.layers
        ]
    for _, layer in layers:
        layer.weight.requires_grad_(False)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for _, layer in layers:
            layer.weight.requires_grad_(True)


def _embedding(model: Any) -> nn.Module:
    return model.get_input_embeddings()


def _needs_gradient(_: nn.Module, __: object, output: torch.Tensor) -> None:
    output.requires_grad_(True)
