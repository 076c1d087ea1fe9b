"""Collecting gradients: batches against a loop of one, and against plain LoRA fine-tuning.

    python -m benchmarks.collecting [--samples 256] [--device cpu] [--sizes tiny,demo,large]
    python -m benchmarks.collecting --less FOLDER

All columns of a row are measured in one run, in turns, on the same samples; the fastest of three
turns counts, and the answers are asserted equal before the clock is read. Tokens are those the
model reads, without padding. On a CPU one thread works and its own seconds count, so that other
programs on the machine do not; with several threads, and on a GPU, those of the wall.

- *loop of one*: one sample, one forward and backward pass, its gradients joined; then the same rows
  and the same projection, 16 at a time, as LESS does it.
- *fine-tuning*: optimizer steps on the same batches, nothing else.

With `--less`, parity instead: rows against the unprojected ones that LESS's own script wrote
(a folder with `common/` and `less/truth/`), encoded as LESS encodes.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gtp_core.collect import CollectSettings, Encoded, GradientModel, Moments, gradient_rows
from gtp_core.collect.checkpoints import checkpoint_folders, read_checkpoints
from gtp_core.collect.encode import batches, encode, mean_losses, pad
from gtp_core.collect.model import adapted, load_model, load_tokenizer, pad_id
from gtp_core.collect.pool import read_records
from gtp_core.collect.projection import Projection, make_projection
from gtp_core.collect.template import Template
from gtp_core.collect.training import shapes_of
from gtp_core.collect.warmup import add_lora, train_step, trainable
from gtp_core.collect.work import RowMaker
from gtp_core.store import open_store

DEMO = Path(__file__).parents[1] / "data" / "demo"
TURNS = 3


def demo_setting(n_samples: int) -> tuple[Any, list[Encoded], int]:
    """The demo's model (0.9 M parameters), rank 4 on four modules a layer, and its own pool."""
    tokenizer = load_tokenizer(DEMO / "model")
    model = load_model(DEMO / "model", dtype="fp32", device=torch.device("cpu"))
    targets = ("v_proj", "o_proj", "up_proj", "down_proj")
    tuned = add_lora(model, rank=4, alpha=16, target_modules=targets)
    pool = open_store(DEMO).samples().select("prompt", "completion").collect()
    step = max(1, pool.height // n_samples)
    pairs = pool[::step][:n_samples].iter_rows()
    return tuned, [encode(tokenizer, a, b, max_tokens=256) for a, b in pairs], 256


def tiny_setting(n_samples: int) -> tuple[Any, list[Encoded], int]:
    """A Llama of 0.2 M parameters with random weights, rank 4 on attention."""
    return *random_model(n_samples, hidden=64, layers=2, vocabulary=600, rank=4), 512


def large_setting(n_samples: int) -> tuple[Any, list[Encoded], int]:
    """A Llama of 17 M parameters with random weights, rank 16 on attention; fewer samples."""
    return *random_model(n_samples // 4, hidden=384, layers=8, vocabulary=4096, rank=16), 1024


def random_model(
    n_samples: int, *, hidden: int, layers: int, vocabulary: int, rank: int
) -> tuple[Any, list[Encoded]]:
    """A model with random weights and samples of 20 to 80 random tokens, half of them learned."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16 if hidden < 256 else hidden // 64,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).requires_grad_(False)
    targets = ("q_proj", "k_proj", "v_proj", "o_proj")
    draw = np.random.default_rng(0)
    lengths = draw.integers(10, 40, (n_samples, 2)).tolist()
    texts = [
        Encoded(*(tuple(draw.integers(5, vocabulary, length).tolist()) for length in pair))
        for pair in lengths
    ]
    return add_lora(model, rank=rank, alpha=2 * rank, target_modules=targets), texts


SETTINGS = {"tiny": tiny_setting, "demo": demo_setting, "large": large_setting}


def fresh_moments(model: Any, names: Sequence[str]) -> Moments:
    """Moments of the right size: a second moment that is never zero."""
    count = sum(dict(model.named_parameters())[name].numel() for name in names)
    generator = torch.Generator().manual_seed(1)
    second = torch.rand(count, generator=generator) * 1e-6 + 1e-8
    return Moments(torch.zeros(count), second, step=100)


def loop_of_one(
    model: Any, texts: Sequence[Encoded], moments: Moments, projection: Projection, device: Any
) -> np.ndarray:
    """One sample at a time, by torch's own backward pass; projected 16 at a time."""
    model.eval()
    weights = [p for _, p in trainable(model)]
    out, waiting = [], []
    for text in texts:
        model.zero_grad(set_to_none=True)
        batch = pad([text], pad_id=0, device=device)
        labels = batch.pop("labels")
        mean_losses(model(**batch, use_cache=False).logits, labels).sum().backward()
        waiting.append(torch.cat([w.grad.flatten() for w in weights]))
        if len(waiting) == 16:
            raw = torch.stack(waiting)
            out.append(projection.project(gradient_rows(raw, kind="adam", moments=moments)))
            waiting = []
    if waiting:
        raw = torch.stack(waiting)
        out.append(projection.project(gradient_rows(raw, kind="adam", moments=moments)))
    model.zero_grad(set_to_none=True)
    return torch.cat(out).cpu().numpy()


def fine_tuning(model: Any, texts: Sequence[Encoded], batch_tokens: int) -> None:
    """One pass of LoRA training over the same batches."""
    optimizer = torch.optim.AdamW([p for _, p in trainable(model)], lr=0.0)
    for batch in batches(texts, max_batch_tokens=batch_tokens):
        train_step(model, optimizer, [texts[i] for i in batch], pad_id=0, rate=0.0)
    model.zero_grad(set_to_none=True)


def in_turns(work: Sequence[Callable[[], Any]], device: torch.device) -> list[float]:
    """Fastest seconds of each of several pieces of work, which take turns."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds = [float("inf")] * len(work)
    for _ in range(TURNS):
        for at, piece in enumerate(work):
            start = clock()
            piece()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[at] = min(seconds[at], clock() - start)
    return seconds


def compare(
    size: str, kind: str, n_samples: int, device: torch.device, batch_tokens: int = 2048
) -> dict[str, Any]:
    """One row of the table: tokens/s of batches, of a loop of one and of fine-tuning."""
    model, texts, dim = SETTINGS[size](n_samples)
    model = model.to(device)
    for name, weight in model.named_parameters():  # a fresh lora_B is zero, and so are gradients
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    source = GradientModel(model, pad_id=0)
    projection = make_projection(kind, input_dim=source.input_dim, dim=dim)
    maker = RowMaker(source, [projection], max_batch_tokens=batch_tokens)
    moments = fresh_moments(model, source.names)
    maker._moments = Moments(moments.first.to(device), moments.second.to(device), 100)

    def batched() -> np.ndarray:
        return maker.rows(texts, "adam")[0]

    def single() -> np.ndarray:
        return loop_of_one(model, texts, maker._moments, projection, device)

    one, other = batched(), single()
    error = np.abs(one - other).max() / np.abs(other).max()
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert error < 1e-2, error
    assert cosines.min() > 0.9999, cosines.min()
    seconds = in_turns([batched, single, lambda: fine_tuning(model, texts, batch_tokens)], device)
    tokens = sum(map(len, texts))
    return {
        "size": size,
        "projection": f"{kind} {source.input_dim:,} -> {dim}",
        "samples": len(texts),
        "tokens_per_sample": round(tokens / len(texts), 1),
        "batched": tokens / seconds[0],
        "loop_of_one": tokens / seconds[1],
        "fine_tuning": tokens / seconds[2],
        "error": float(error),
    }


def parity(folder: Path) -> None:
    """Rows at every checkpoint against those that LESS's own script wrote, unprojected."""
    base = folder / "common" / "base"
    tokenizer, device = load_tokenizer(base), torch.device("cpu")
    folders = checkpoint_folders([folder / "common" / "warmup"])
    given = {
        "alpha": _less_chats(folder / "common/train/alpha.jsonl", tokenizer),
        "beta": _less_chats(folder / "common/train/beta.jsonl", tokenizer),
        "bbh": _less_bbh(folder / "common/eval/bbh/bbh-three-shot.json", tokenizer),
    }
    for batch_tokens, what in ((1, "one at a time"), (4096, "in batches")):
        model = load_model(base, dtype="bf16", device=device)
        tuned = adapted(model, CollectSettings(), folders)
        source = GradientModel(tuned, pad_id=pad_id(tokenizer))
        whole = make_projection("none", input_dim=source.input_dim, dim=source.input_dim)
        maker = RowMaker(source, [whole], max_batch_tokens=batch_tokens)
        for state in read_checkpoints(folders, shapes_of(tuned), needs_moments=True):
            maker.move_to(state)
            for name, texts in given.items():
                kind, theirs = ("sgd", "sgd") if name == "bbh" else ("adam-less", "adam")
                path = folder / f"less/truth/full_{name}_{theirs}_ckpt{state.checkpoint.step}.npy"
                wanted = np.load(path).astype(np.float64)
                error = np.linalg.norm(maker.rows(texts, kind)[0] - wanted, axis=1)
                error /= np.linalg.norm(wanted, axis=1)
                print(
                    f"{what}: {name} {kind} at {state.checkpoint.name}, step size "
                    f"{state.checkpoint.step_size:.7f}: relative error of {len(wanted)} rows "
                    f"{np.median(error):.5f} (median), {error.max():.5f} (largest)"
                )


def _less_chats(path: Path, tokenizer: Any) -> list[Encoded]:
    """As LESS encodes a chat: our own, and the line end after the end mark is learned too."""
    template, end = Template(tokenizer), tuple(tokenizer.encode("\n", add_special_tokens=False))
    texts = [template.encode(record.content) for record in read_records(path)]
    return [Encoded(text.prompt, text.completion + end) for text in texts]


def _less_bbh(path: Path, tokenizer: Any) -> list[Encoded]:
    """As LESS asks BBH: every one of three examples after the other two."""
    found = []
    for text in json.loads(path.read_text(encoding="utf-8")).values():
        pieces = text.split("\n\n")
        task, shots = "\n\n".join(pieces[:-3]).strip(), pieces[-3:]
        for at, shot in enumerate(shots):
            others = "".join(f"{other}\n\n" for other in shots[:at] + shots[at + 1 :])
            question, answer = shot.split("\nA:")
            query = f"<|user|>\n{task}\n\n{others}{question}\n<|assistant|>\nA:"
            ids, n_query = (
                tokenizer(query + answer)["input_ids"],
                len(tokenizer(query)["input_ids"]),
            )
            found.append(Encoded(tuple(ids[:n_query]), tuple(ids[n_query:])))
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="tiny,demo,large")
    parser.add_argument("--threads", type=int, default=1, help="of torch; above 1, wall time")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="of one forward pass")
    parser.add_argument("--less", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.less:
        parity(options.less)
        return
    print("| model | projection | tokens a sample | batched | loop of one | fine-tuning | ratios |")
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes.split(","):
        for kind in ("sjlt", "rademacher"):
            device = torch.device(options.device)
            row = compare(size, kind, options.samples, device, options.batch_tokens)
            print(
                f"| {size} | {row['projection']} | {row['tokens_per_sample']} | "
                f"{row['batched']:,.0f} | {row['loop_of_one']:,.0f} | {row['fine_tuning']:,.0f} | "
                f"{row['batched'] / row['loop_of_one']:.1f}x the loop, "
                f"{row['batched'] / row['fine_tuning']:.0%} of fine-tuning |",
                flush=True,
            )


if __name__ == "__main__":
    main()
