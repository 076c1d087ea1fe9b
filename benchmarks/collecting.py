"""Collecting gradients: batches against a loop of one, and against plain LoRA fine-tuning.

    python -m benchmarks.collecting [--samples 256] [--device cpu] [--sizes tiny,demo,large]
    python -m benchmarks.collecting --memory
    python -m benchmarks.collecting --less FOLDER [--less-code get_validation_dataset.py]

All columns of a row are measured in one run, in turns, on the same samples, by the wall clock; the
fastest of several turns counts, and the answers are asserted equal before the clock is read. Tokens
are those the model reads, without padding.

- *loop of one*: as LESS's script does it: one sample, the model's own loss, a backward pass, its
  gradients joined, Adam's scaling; projected 16 at a time, by the same projection.
- *fine-tuning*: optimizer steps on the same batches, nothing else.

With `--memory`, the largest resident memory of whole `collect` commands instead, each in a process
of its own, at several bounds and two sizes of pool.
With `--less`, parity with the rows of LESS's own script (less_parity.py).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.less_parity import parity
from gtp_core.collect import Encoded, GradientModel, Moments, gradient_rows
from gtp_core.collect.encode import batches, encode, pad
from gtp_core.collect.model import load_model, load_tokenizer
from gtp_core.collect.projection import Projection, make_projection
from gtp_core.collect.warmup import add_lora, trainable
from gtp_core.collect.work import RowMaker
from gtp_core.store import open_store

DEMO = Path(__file__).parents[1] / "data" / "demo"
TURNS = 5


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
    """One sample at a time, by the model's own loss; projected 16 at a time."""
    model.eval()
    out, waiting = [], []
    for text in texts:
        batch = pad([text], pad_id=0, device=device)
        model(**batch, use_cache=False).loss.backward()
        raw = torch.cat([p.grad.view(-1) for p in model.parameters() if p.grad is not None])
        waiting.append(gradient_rows(raw[None], kind="adam", moments=moments)[0])
        model.zero_grad()
        if len(waiting) == 16:
            out.append(projection.project(torch.stack(waiting)))
            waiting = []
    if waiting:
        out.append(projection.project(torch.stack(waiting)))
    return torch.cat(out).cpu().numpy()


def fine_tuning(model: Any, texts: Sequence[Encoded], batch_tokens: int) -> None:
    """One pass of LoRA training over the same batches, as any training loop does it."""
    optimizer = torch.optim.AdamW([p for _, p in trainable(model)], lr=0.0)
    device = next(model.parameters()).device
    model.train()
    for at in batches(texts, max_batch_tokens=batch_tokens):
        batch = pad([texts[i] for i in at], pad_id=0, device=device)
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def in_turns(work: Sequence[Callable[[], Any]], device: torch.device) -> list[float]:
    """Fastest seconds of each of several pieces of work, which take turns."""
    seconds = [float("inf")] * len(work)
    for _ in range(TURNS):
        for at, piece in enumerate(work):
            start = time.perf_counter()
            piece()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[at] = min(seconds[at], time.perf_counter() - start)
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
    placed = Moments(moments.first.to(device), moments.second.to(device), 100)
    maker._moments = placed

    def batched() -> np.ndarray:
        return maker.rows(texts, "adam")[0]

    def single() -> np.ndarray:
        return loop_of_one(model, texts, placed, projection, device)

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


def memory() -> None:
    """Peak resident memory of `collect` on the demo's model, at several bounds and pools."""
    print("| samples | tokens of a pass | samples of a pass | peak MiB | beside the libraries |")
    print("|---|---|---|---|---|")
    settings = [(100, 8192, 64), (1000, 8192, 64), (1000, 512, 64), (1000, 8192, 256)]
    with tempfile.TemporaryDirectory() as folder:
        alone = peak_mib(Path(folder) / "none", 1, 64, 1)
        for at, (limit, tokens, samples) in enumerate(settings):
            found = peak_mib(Path(folder) / str(at), limit, tokens, samples)
            row = f"| {limit:,} | {tokens:,} | {samples:,} | {found:,.0f} | {found - alone:,.0f} |"
            print(row, flush=True)


def peak_mib(out: Path, limit: int, batch_tokens: int, batch_samples: int) -> float:
    """Largest resident memory of one `collect` command, in MiB."""
    told: dict[str, Any] = {
        "--model": DEMO / "model",
        "--pool": DEMO / "samples/part-00000.parquet",
        "--out": out,
    }
    told |= {"--limit": limit, "--max-batch-tokens": batch_tokens, "--part-rows": 256}
    told |= {"--max-batch-samples": batch_samples, "--rank": 8, "--epochs": 1, "--dim": 1024}
    told |= {"--batch-size": 16, "--threads": 1, "--device": "cpu", "--warmup-share": 0.02}
    words = [str(word) for pair in told.items() for word in pair]
    command = [sys.executable, "-m", "gtp_core", "collect", *words]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="tiny,demo,large")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="of one forward pass")
    parser.add_argument("--memory", action="store_true", help="resident memory instead")
    parser.add_argument("--less", type=Path, help="folder with common/ and less/truth/")
    parser.add_argument("--less-code", type=Path, help="LESS's get_validation_dataset.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.less:
        parity(options.less, options.less_code)
        return
    if options.memory:
        memory()
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
