"""What a model makes of test examples: the loss of each, and the answers it writes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gtp_core.collect.encode import Encoded, batches, mean_losses, pad
from gtp_core.verify.examples import final_answer

Tick = Callable[[int], None]


def losses_on(
    model: Any, examples: Sequence[Encoded], *, pad_id: int, most: int, tick: Tick
) -> np.ndarray:
    """Mean completion-token loss of every example, in nats: (n,)."""
    model.eval()
    device, found = next(model.parameters()).device, np.zeros(len(examples))
    for places in batches(examples, max_batch_tokens=most):
        padded = pad([examples[i] for i in places], pad_id=pad_id, device=device)
        labels = padded.pop("labels")
        with torch.no_grad():
            losses = mean_losses(model(**padded, use_cache=False).logits, labels)
        found[places] = losses.double().cpu().numpy()
        tick(len(places))
    return found


def right_answers(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Encoded],
    answers: Sequence[str],
    *,
    most: int,
    max_new_tokens: int,
    tick: Tick,
) -> list[bool]:
    """Whether the greedy completion of every example ends in the wanted answer."""
    prompts = [Encoded(example.prompt, ()) for example in examples]
    right = [False] * len(prompts)
    for places in batches(prompts, max_batch_tokens=most):
        texts = _written(model, tokenizer, [prompts[i].prompt for i in places], max_new_tokens)
        for text, at in zip(texts, places, strict=True):
            right[at] = final_answer(text) == answers[at]
        tick(len(places))
    return right


def _written(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[str]:
    """What follows each prompt up to its end token, chosen greedily."""
    end, width = tokenizer.eos_token_id, max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.full((len(prompts), width), end, device=device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with torch.no_grad():
        out = model.eval().generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=end,
        )
    texts = out[:, width:].tolist()
    whole = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in texts]
    return [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in whole]
