"""Prompts and completions as token ids, and batches of them padded on the right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100
PROMPT_END = "\n"


@dataclass(frozen=True)
class Encoded:
    """One sample as the model reads it: prompt ids, then completion ids and end of sequence.

    `silent` are positions of the completion that are read and not learned: what a user says
    between two answers.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    silent: tuple[int, ...] = ()

    @property
    def n_learned(self) -> int:
        """How many tokens the loss is over; none where the completion was cut away entirely."""
        return len(self.completion) - len(self.silent)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def encode(tokenizer: Any, prompt: str, completion: str, *, max_tokens: int) -> Encoded:
    """Token ids of a prompt and its line end, and of a completion closed by end of sequence.

    Both are encoded apart, so that the boundary between them never falls inside a token. A sample
    longer than `max_tokens` loses its end; one that loses its whole completion has no loss and a
    zero gradient, which the store records as invalid.
    """
    head = encode_prompt(tokenizer, prompt)
    tail = [*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id]
    return Encoded(tuple(head[:max_tokens]), tuple(tail[: max(0, max_tokens - len(head))]))


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids after which the model is to write the completion.

    They begin with the token that begins every text of this tokenizer, where it has one.
    """
    opening = tokenizer.encode("")[:1]
    if opening != [getattr(tokenizer, "bos_token_id", None)]:
        opening = []
    return opening + tokenizer.encode(prompt + PROMPT_END, add_special_tokens=False)


def pad(
    samples: Sequence[Encoded], *, pad_id: int, device: torch.device | None = None
) -> dict[str, torch.Tensor]:
    """One batch, padded on the right: input_ids, attention_mask and labels, each (n, longest).

    Labels are IGNORED over the prompt and the padding: only completions are learned from.
    """
    longest = max(map(len, samples))
    shape = (len(samples), longest)
    ids = torch.full(shape, pad_id)
    mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for row, sample in enumerate(samples):
        ids[row, : len(sample)] = torch.tensor(sample.prompt + sample.completion)
        mask[row, : len(sample)] = 1
        labels[row, len(sample.prompt) : len(sample)] = torch.tensor(sample.completion)
        labels[row, [len(sample.prompt) + at for at in sample.silent]] = IGNORED
    found = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in found.items()}


def batches(samples: Sequence[Encoded], *, max_batch_tokens: int) -> Iterator[list[int]]:
    """Positions in batches of similar length, at most `max_batch_tokens` with padding each.

    Every position comes exactly once, shortest first; one that is too long alone still comes.
    """
    batch: list[int] = []
    for position in sorted(range(len(samples)), key=lambda i: len(samples[i])):
        # Sorted by length, the newcomer is the longest of its batch and sets the padded width.
        if batch and (len(batch) + 1) * len(samples[position]) > max_batch_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def mean_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over each sample's completion tokens, in nats: (n,).

    Args:
        logits: (n, length, vocabulary).
        labels: (n, length), IGNORED where nothing is predicted.

    A sample without completion tokens has loss zero, not NaN.
    """
    return losses_of(logits[:, :-1], labels[:, 1:])


def losses_of(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The same, of labels (n, length) that stand where their own logits do.

    Logits may be of the learned positions alone, end to end: (1, count, vocabulary).
    """
    learned = wanted != IGNORED
    row = learned.nonzero()[:, 0]
    alone = logits.shape[:2] == (1, len(row))
    found = logits[0] if alone else logits[:, : wanted.shape[1]][learned]
    if found.dtype in (torch.float16, torch.bfloat16):
        found = found.float()  # a softmax over a vocabulary needs more than 8 or 11 bits
    each = torch.nn.functional.cross_entropy(found, wanted[learned], reduction="none")
    count = learned.sum(dim=1).clamp(min=1).to(each.dtype)
    sums = torch.zeros(len(wanted), dtype=each.dtype, device=each.device).index_add(0, row, each)
    return sums / count
