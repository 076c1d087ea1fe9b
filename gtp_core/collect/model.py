"""The language model of a collection: loaded from a folder or the hub's cache, with its adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gtp_core.collect.checkpoints import CONFIG
from gtp_core.collect.settings import CollectSettings
from gtp_core.collect.warmup import add_adapter, add_lora
from gtp_core.errors import CollectError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FP16_LOSS_SCALE = 1024.0
MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.jinja", "*.py")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def model_folder(name: str) -> Path:
    """The folder of a model: the one named, or where the hub's copy of that name lies.

    Raises:
        CollectError: neither a folder nor a model that the hub gives.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        raise CollectError(
            f"{name} is no folder here and no model the hub gives; wanted a folder with "
            "config.json, weights and tokenizer, or a name on the hub. Give one of these."
        ) from None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder; the reason in one sentence where it cannot be loaded."""
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _unloadable(folder, "tokenizer", error) from None


def load_model(folder: Path, *, dtype: str, device: torch.device) -> Any:
    """The causal language model in a folder, its weights in `dtype`, none of them trainable."""
    logging.disable_progress_bar()  # ours says more, and its is over at once
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _unloadable(folder, "causal language model", error) from None
    return model.to(device).requires_grad_(False)


def resolved_dtype(dtype: str, device: torch.device) -> str:
    """`auto` as what it stands for."""
    if dtype == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    if dtype not in DTYPES:
        raise CollectError(f"dtype {dtype!r} is unknown; it can be auto, {', '.join(DTYPES)}.")
    return dtype


def adapted(model: Any, settings: CollectSettings, folders: Sequence[Path]) -> PeftModel:
    """The model with its adapter: as the first of the folders has it, or else a fresh one.

    Raises:
        CollectError: an adapter that is no plain LoRA, or targets that the model does not have.
    """
    if folders:
        try:
            config = LoraConfig.from_pretrained(folders[0])
        except (OSError, ValueError, TypeError) as error:
            raise _unloadable(folders[0], f"adapter ({CONFIG})", error) from None
        config.inference_mode = False
        return add_adapter(model, config, seed=settings.seed)
    targets = settings.targets.split(",") if "," in settings.targets else [settings.targets]
    if settings.targets == "auto":
        names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        targets = [t for t in _ATTENTION if t in names] or ["all-linear"]
    try:
        return add_lora(
            model,
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=settings.dropout,
            target_modules=targets[0] if targets == ["all-linear"] else targets,
            seed=settings.seed,
        )
    except ValueError as error:
        raise CollectError(
            f"the adapter does not fit the model ({_first_line(error)}). "
            "Give --targets that the model has, a rank of at least 1, and a dropout below 1."
        ) from None


def pad_id(tokenizer: Any) -> int:
    """Any token serves to pad, because padding is masked and follows every real token."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def _unloadable(folder: Path, what: str, error: Exception) -> CollectError:
    return CollectError(
        f"{folder} holds no {what} that transformers can load ({_first_line(error)}). "
        "Give the folder of a causal language model in the layout of save_pretrained."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160].rstrip(".")
