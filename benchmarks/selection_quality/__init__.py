"""Do the chosen samples train a better model? Every method, budget and seed, trained and asked.

    python -m benchmarks.selection_quality --work FOLDER [--pool demo] [--report] [--svg FILE]
    python -m benchmarks.selection_quality --work FOLDER --pool real
        --samples-from POOL.jsonl --tasks FOLDER --text MORE.jsonl

A pool is chosen from for each of its tasks, and for the pool's own mean (`in-domain`), by every way
of `ways.py` at 0.5, 1, 2, 5 and 10 % of it. On every subset the pool's model is fine-tuned with
LoRA, five times with seeds of their own, for the same number of epochs, and asked test examples
that nothing was chosen with. `counterpart` draws from the task's own kind by chance: it shows
whether a task can be learned from so few samples at all. `full` is the whole pool, trained with
two seeds unless `--full-seeds` says otherwise.

Everything is kept in --work: `choices/` (who was chosen, residuals, held-out match, planted faults,
precision), `trainings/` (losses on every task, by subset and seed: two ways that choose the same
are trained once). The command goes on where it was stopped; delete the folder after a change to a
method. `--report` computes nothing and prints what is there. `--study` adds settings of `gtp` that
are compared with its defaults.
"""

from benchmarks.selection_quality.command import main

__all__ = ["main"]
