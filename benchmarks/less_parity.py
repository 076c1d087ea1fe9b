"""Rows of `adam-less` and `sgd` against the unprojected ones that LESS's own script wrote.

    python -m benchmarks.collecting --less FOLDER [--less-code get_validation_dataset.py]

The folder has `common/` (model, warm-up, samples, tasks) and `less/truth/`; texts are encoded as
LESS encodes them. How LESS asks TyDiQA in nine languages is read from LESS's own file; without it
that task is left out.
"""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_core.collect import CollectSettings, Encoded, GradientModel
from gtp_core.collect.checkpoints import checkpoint_folders, read_checkpoints
from gtp_core.collect.model import adapted, load_model, load_tokenizer, pad_id
from gtp_core.collect.pool import read_records
from gtp_core.collect.projection import make_projection
from gtp_core.collect.template import Template
from gtp_core.collect.training import shapes_of
from gtp_core.collect.work import RowMaker


def parity(folder: Path, code: Path | None) -> None:
    """Rows at every checkpoint against those that LESS's own script wrote, unprojected."""
    base = folder / "common" / "base"
    tokenizer, device = load_tokenizer(base), torch.device("cpu")
    folders = checkpoint_folders([folder / "common" / "warmup"])
    given = {
        "alpha": _less_chats(folder / "common/train/alpha.jsonl", tokenizer),
        "beta": _less_chats(folder / "common/train/beta.jsonl", tokenizer),
        "bbh": _less_bbh(folder / "common/eval/bbh/bbh-three-shot.json", tokenizer),
    }
    if code:
        asked = folder / "common/eval/tydiqa/tydiqa-one-shot.json"
        given["tydiqa"] = _less_tydiqa(asked, _tydiqa_words(code), tokenizer)
    for batch_tokens, what in ((1, "one at a time"), (4096, "in batches")):
        model = load_model(base, dtype="bf16", device=device)
        tuned = adapted(model, CollectSettings(), folders)
        source = GradientModel(tuned, pad_id=pad_id(tokenizer))
        whole = make_projection("none", input_dim=source.input_dim, dim=source.input_dim)
        maker = RowMaker(source, [whole], max_batch_tokens=batch_tokens)
        for state in read_checkpoints(folders, shapes_of(tuned), needs_moments=True):
            maker.move_to(state)
            for name, texts in given.items():
                kind, theirs = (
                    ("sgd", "sgd") if name in ("bbh", "tydiqa") else ("adam-less", "adam")
                )
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
            found.append(_less_pair(query, answer, tokenizer))
    return found


def _less_tydiqa(path: Path, words: dict[str, Any], tokenizer: Any) -> list[Encoded]:
    """As LESS asks TyDiQA: the first example of every language, in the words of that language."""
    found = []
    for language, examples in json.loads(path.read_text(encoding="utf-8")).items():
        task, passage, question, answer = words[language]
        example = examples[0]
        asked = f"{task}{passage} {example['context']}\n{question} {example['question']}\n"
        query = f"<|user|>\n{asked}<|assistant|>\n{answer}"
        found.append(_less_pair(query, f" {example['answers'][0]['text']}", tokenizer))
    return found


def _less_pair(query: str, answer: str, tokenizer: Any) -> Encoded:
    """As LESS cuts a text in two: by the number of tokens that the query has alone."""
    ids, n_query = tokenizer(query + answer)["input_ids"], len(tokenizer(query)["input_ids"])
    return Encoded(tuple(ids[:n_query]), tuple(ids[n_query:]))


def _tydiqa_words(code: Path) -> dict[str, Any]:
    """Per language the words for task, passage, question and answer, read and not run."""
    for node in ast.walk(ast.parse(code.read_text(encoding="utf-8"))):
        told = ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""
        if told == "encoding_templates_with_context":
            return dict(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    raise SystemExit(f"{code} has no encoding_templates_with_context; give LESS's own file.")
