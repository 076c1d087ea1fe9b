"""One trial: a fresh adapter on the model, trained on a subset, asked the test examples."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_core.catalog import Catalog
from gtp_core.collect.encode import Encoded
from gtp_core.collect.model import adapted, load_model, load_tokenizer, pad_id
from gtp_core.collect.repeatable import repeatable
from gtp_core.collect.template import Template
from gtp_core.errors import TaskError
from gtp_core.verify.arms import Subset, texts_of
from gtp_core.verify.evaluating import losses_on, right_answers
from gtp_core.verify.examples import TestSet
from gtp_core.verify.pace import ANSWER, ASK, TRAIN
from gtp_core.verify.resuming import Resumable
from gtp_core.verify.settings import VerifySettings
from gtp_core.verify.steps import places_met
from gtp_core.verify.training import train

Did = Callable[[str, int], None]


class Trainer:
    """The model, loaded once, and the test examples as it reads them."""

    def __init__(
        self,
        catalog: Catalog,
        folder: Path,
        settings: VerifySettings,
        test: TestSet,
        *,
        device: torch.device,
        chat_template: str | None = None,
    ) -> None:
        self._catalog, self._settings, self._test = catalog, settings, test
        self._device = device
        self._tokenizer = load_tokenizer(folder)
        self._template = Template(
            self._tokenizer,
            kind=settings.template,
            chat_template=chat_template,
            max_tokens=settings.max_tokens,
        )
        self._model = load_model(folder, dtype=settings.dtype, device=device)
        self._examples = [self._template.encode(record.content) for record in test.records]
        self._asked = [i for i, example in enumerate(self._examples) if example.n_learned]
        if not self._asked:
            raise TaskError(
                f"none of {len(self._examples):,} test examples has a completion within "
                f"{settings.max_tokens:,} tokens. Raise --max-tokens, or give other examples."
            )

    def trial(
        self, subset: Subset | None, seed: int, did: Did, state: Resumable | None = None
    ) -> dict[str, Any]:
        """Train and ask; without a subset the model is asked as it is.

        Args:
            subset: what to train on.
            seed: of adapter, order and dropout.
            did: told how many samples of which kind of work were done; what it raises ends the
                trial, whose state between two steps is then saved.
            state: where an earlier attempt was cut off.

        Returns `n_samples`, `steps`, `test_loss` and `by_subtask` in nats, `exact_match` (None
        where the task has no answers), `curve` (points of step, train_loss, test_loss), and for
        every example `losses` and `right`. What is not finite is None. The model is afterwards as
        it was.
        """
        threads = self._settings.threads or torch.get_num_threads()
        with repeatable(seed=seed, threads=threads, strict=self._device.type == "cpu"):
            if subset is None:
                losses = self._losses(self._model, did)
                return self._found(self._model, losses, [], 0, did)
            tuned = adapted(self._model, self._settings.collecting(seed), []).to(self._device)
            try:
                return self._trained(tuned, subset, seed, did, state or Resumable())
            except KeyboardInterrupt:
                if state is not None:
                    state.save()
                raise
            finally:
                self._model = tuned.unload()

    def _trained(
        self, tuned: Any, subset: Subset, seed: int, did: Did, state: Resumable
    ) -> dict[str, Any]:
        losses = np.zeros(0)
        for step, train_loss in train(
            tuned,
            self._texts(subset, seed),
            subset.weights,
            settings=self._settings,
            seed=seed,
            pad_id=pad_id(self._tokenizer),
            tick=partial(did, TRAIN),
            state=state,
        ):
            losses = self._losses(tuned, did)
            point = {"train_loss": _finite(train_loss), "test_loss": _finite(losses.mean())}
            state.curve.append({"step": step, **point})
        return self._found(tuned, losses, state.curve, len(subset.rows), did)

    def _texts(self, subset: Subset, seed: int) -> list[Encoded]:
        """The samples at their places; those that no step comes by are left empty.

        So a large pool is not read for the few hundred samples that equal steps take of it.
        """
        met = places_met(len(subset.rows), self._settings, seed)
        texts = [Encoded((), ())] * len(subset.rows)
        for place, text in zip(
            met, texts_of(self._catalog, subset.rows[met], self._template), strict=True
        ):
            texts[place] = text
        return texts

    def _losses(self, model: Any, did: Did) -> np.ndarray:
        return losses_on(
            model,
            [self._examples[i] for i in self._asked],
            pad_id=pad_id(self._tokenizer),
            most=self._settings.max_batch_tokens,
            tick=partial(did, ASK),
        )

    def _found(
        self, model: Any, losses: np.ndarray, curve: list[Any], n_samples: int, did: Did
    ) -> dict[str, Any]:
        subtasks = np.array([self._test.records[i].subtask for i in self._asked])
        by_subtask = {
            str(name): _finite(losses[subtasks == name].mean()) for name in np.unique(subtasks)
        }
        whole = bool(np.isfinite(losses).all())
        right = self._right(model, did) if whole else None
        return {
            "n_samples": n_samples,
            "steps": curve[-1]["step"] if curve else 0,
            "test_loss": _finite(losses.mean()),
            "exact_match": None if right is None else float(np.mean(right)),
            "by_subtask": by_subtask,
            "curve": curve,
            "losses": [float(loss) for loss in losses] if whole else None,
            "right": right,
        }

    def _right(self, model: Any, did: Did) -> list[bool] | None:
        if not self._test.answers:
            return None
        return right_answers(
            model,
            self._tokenizer,
            self._examples,
            self._test.answers,
            most=self._settings.max_batch_tokens,
            max_new_tokens=self._settings.max_new_tokens,
            tick=partial(did, ANSWER),
        )


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
