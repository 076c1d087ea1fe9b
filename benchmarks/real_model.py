"""The language model of a real pool, trained on the spot by the clock: as far as the time goes.

What made it reach further in the same time than `pretrain` of the demo: prompts learned as well as
completions, rows without padding, twice as many tokens a step, bfloat16 where the processor
multiplies it (8,800 tokens/s of a thread, 6,100 in float32), a rate that falls by the clock.
"""

import random
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_core.collect.encode import PROMPT_END
from gtp_core.collect.repeatable import repeatable
from gtp_core.demo.model import (
    ModelSettings,
    descend,
    half_precision,
    new_model,
    optimizers,
    save_model,
    scheduled,
    train_tokenizer,
)
from gtp_core.store import write_json

SIZES = ModelSettings(vocabulary=2048, hidden=128, inner=384, layers=4)
LENGTH, ROWS = 160, 12  # tokens of a row, rows of an optimizer step
LETTERS = 480  # of a prompt's end and of a completion's beginning
BATCH = 512  # texts that are encoded at once
TOKENIZED = 20_000  # texts that the tokenizer learns from
SAID = 100  # steps
Pair = tuple[str, str]


def trained_model(
    text: Sequence[dict[str, Any]], folder: Path, *, minutes: float, seed: int
) -> None:
    """Train tokenizer and model for so many minutes and save them; `card.json` comes last."""
    pairs = [(row["prompt"][-LETTERS:], row["completion"][:LETTERS]) for row in text]
    with repeatable(seed=seed, threads=1):
        texts = (f"{a}{PROMPT_END}{b}" for a, b in islice(pairs, TOKENIZED))
        tokenizer = train_tokenizer(texts, vocabulary=SIZES.vocabulary)
        tokenizer.model_max_length = 1 << 30
        model = new_model(SIZES, vocabulary=len(tokenizer), end_id=tokenizer.eos_token_id)
        told = _until(model, _rows(tokenizer, pairs), 60 * minutes)
        save_model(half_precision(model), tokenizer, folder)
    parameters = sum(p.numel() for p in model.parameters())
    write_json(folder / "card.json", {"parameters": parameters, **told})


def _rows(tokenizer: Any, pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Texts end to end, each closed by the end of sequence, cut into rows of LENGTH tokens."""
    kept: list[int] = []
    stream = cycle(pairs)
    while True:
        texts = [f"{a}{PROMPT_END}{b}" for a, b in islice(stream, BATCH)]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            kept += [*ids, tokenizer.eos_token_id]
        cut = len(kept) // LENGTH * LENGTH
        rows = [kept[at : at + LENGTH] for at in range(0, cut, LENGTH)]
        random.Random(cut).shuffle(rows)  # rows of one text come at different steps
        kept = kept[cut:]
        yield from rows


def _until(model: Any, rows: Iterator[list[int]], seconds: float) -> dict[str, Any]:
    """Train until the time is over: tokens, seconds, mean loss of the last steps in nats."""
    both = optimizers(model, SIZES)
    model.train()
    losses: list[float] = []
    start = time.perf_counter()
    while (gone := time.perf_counter() - start) < seconds:
        rate = SIZES.learning_rate * scheduled(gone / seconds)
        ids = torch.tensor(list(islice(rows, ROWS)))
        losses.append(_step(model, both, ids, rate))
        if len(losses) % SAID == 0:
            speed = len(losses) * ROWS * LENGTH / gone
            print(f"{gone:.0f} s, {speed:.0f} tokens/s, loss {np.mean(losses[-SAID:]):.3f}")
    tokens = len(losses) * ROWS * LENGTH
    return {"tokens": tokens, "seconds": round(gone), "loss": float(np.mean(losses[-SAID:]))}


def _step(
    model: Any, both: Sequence[torch.optim.Optimizer], ids: torch.Tensor, rate: float
) -> float:
    known = torch.cpu.get_capabilities()
    quick = bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    with torch.autocast("cpu", torch.bfloat16, enabled=quick):
        logits = model(input_ids=ids, use_cache=False).logits
    found, wanted = logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten()
    loss = torch.nn.functional.cross_entropy(found, wanted)
    descend(model, both, loss, rate)
    return loss.item()
