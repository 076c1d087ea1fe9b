"""Per-sample gradients of LoRA weights: one batched pass, exact, whatever the padding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gtp_core.collect.encode import IGNORED, Encoded, losses_of, pad
from gtp_core.errors import CollectError

GROUP_COLUMNS = 1 << 16
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
        # What follows the last token is asked of nobody, and padding on the right is behind all
        # that counts, so a causal model needs neither the last column nor a mask.
        ids = batch["input_ids"][:, : max(1, batch["input_ids"].shape[1] - 1)]
        wanted = batch["labels"][:, 1:]
        self.model.eval()
        groups = [_Group(layers, take, 1 / self._loss_scale) for layers in self._grouped()]
        with _recorded(self.model, groups), _only(self._head(), wanted != IGNORED):
            logits = self.model(input_ids=ids, use_cache=False).logits
            total = losses_of(logits, wanted).sum() * self._loss_scale
            total.backward()
        for group in groups:
            group.finish(len(samples))

    def _head(self) -> nn.Module | None:
        """The layer that makes logits, where nothing in it is trained."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        trained = set(self._layers.values())
        return None if head is None or trained & set(head.modules()) else head

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
        self._known: set[int] = set()

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
            # The weights ask for no gradient, so the first layers' outputs do: nothing below
            # them is computed.
            output.requires_grad_(True)
            output.register_hook(lambda found: self._add(start, layer, given, found))

        return keep

    def finish(self, n: int) -> None:
        """Hand over what no backward pass has reached: layers that were not used, as zeros."""
        if self._awaited >= 0:
            self._hand_over(self._buffer(n, self.layers[0][1].weight))

    def _add(self, start: int, layer: nn.Linear, given: torch.Tensor, found: torch.Tensor) -> None:
        values = self._buffer(len(given), layer.weight)
        part = self._of(values, start, layer).view(len(given), *layer.weight.shape)
        found, given = found.to(part.dtype), given.to(part.dtype)
        # Of two ways to the same products the one with the wider rows is up to six times as fast.
        if found.shape[2] > given.shape[2]:
            each = torch.bmm(given.transpose(1, 2), found).transpose(1, 2)
        else:
            each = torch.bmm(found.transpose(1, 2), given)
        if start in self._known:
            part += each
        else:
            part.copy_(each)
        self._known.add(start)
        self._awaited -= 1
        if self._awaited == 0:
            self._hand_over(values)

    def _of(self, values: torch.Tensor, start: int, layer: nn.Linear) -> torch.Tensor:
        at = start - self._columns.start
        return values[:, at : at + layer.weight.numel()]

    def _buffer(self, n: int, like: torch.Tensor) -> torch.Tensor:
        if self._values is None:
            width = self._columns.stop - self._columns.start
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            self._values = torch.empty((n, width), dtype=dtype, device=like.device)
        return self._values

    def _hand_over(self, values: torch.Tensor) -> None:
        for start, layer in self.layers:
            if start not in self._known:
                self._of(values, start, layer).zero_()
        self._values, self._awaited = None, -1
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
    nobody asked for.
    """
    layers = [pair for group in groups for pair in group.layers]
    handles = [
        layer.register_forward_hook(group.watch(start, layer))
        for group in groups
        for start, layer in group.layers
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


@contextmanager
def _only(head: nn.Module | None, learned: torch.Tensor) -> Iterator[None]:
    """Inside, logits come of the learned positions (n, length) alone, as (1, count, vocabulary).

    Of a long prompt they are the dearest numbers, and nobody reads them.
    """
    if head is None:
        yield
        return

    def choose(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = inputs[0]
        row, column = learned.nonzero(as_tuple=True)
        chosen = hidden.flatten(0, 1).index_select(0, row * hidden.shape[1] + column)
        return (chosen[None], *inputs[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
