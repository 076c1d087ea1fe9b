"""Promises of `collect`: from a model's folder to a store, resumable, and nothing mixed."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from forked import begin
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gtp_core.cli import main
from gtp_core.collect import CollectSettings
from gtp_core.collect.world import PATIENCE
from gtp_core.store import open_store

ROOT = Path(__file__).parents[1]
CHAT = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '</s>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
SMALL = ["--rank", "2", "--alpha", "4", "--batch-size", "4", "--learning-rate", "1e-2"]
SMALL += ["--warmup-share", "0.4", "--epochs", "2", "--dim", "32", "--part-rows", "8"]
SMALL += ["--max-tokens", "48", "--max-batch-tokens", "200", "--threads", "1", "--device", "cpu"]


def byte_tokenizer(chat_template=None):
    """One token a byte, and `</s>` as the end of a sequence."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: at for at, letter in enumerate(["</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    found.chat_template = chat_template
    return found


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Llama of two small layers with random weights, and its tokenizer, as people save them."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = byte_tokenizer(CHAT)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def samples(count=20, start=0):
    """Pairs of many lengths; number 5 has a prompt that leaves no room for its completion."""
    return [
        {
            "id": f"s{i}",
            "source": "abc"[i % 3],
            "prompt": "é" * 40 if i == 5 else f"What is {i} + {i}?" + "?" * (i % 7),
            "completion": f"{2 * i}" * (1 + i % 4),
        }
        for i in range(start, start + count)
    ]


def examples(count=5):
    return [
        {"subtask": "xy"[i % 2], "prompt": f"And {i} - 1?", "completion": f"{i - 1}."}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def given(tmp_path_factory, model_folder):
    """The arguments of a small collection."""
    folder = tmp_path_factory.mktemp("given")
    pool = write_lines(folder / "pool.jsonl", samples())
    task = write_lines(folder / "sums.jsonl", examples())
    return [
        "collect", "--model", str(model_folder), "--pool", str(pool), "--task", f"sums={task}",
        "--name", "tiny", *SMALL,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def collected(tmp_path_factory, given):
    """A finished store; tests may read it."""
    folder = tmp_path_factory.mktemp("collected") / "store"
    assert main([*given, "--out", str(folder)]) == 0
    return folder


def contents(folder):
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def refused(capsys, arguments, *parts):
    """Exit 2, and one sentence with these parts on standard error."""
    capsys.readouterr()
    assert main(arguments) == 2
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(part in text for part in parts), text


# --- a store from end to end -----------------------------------------------------------------


def test_a_store_holds_the_pool_and_says_how_it_was_made(collected, model_folder):
    store = open_store(collected)
    assert store.verify() == 3 * 3 + 3
    assert store.samples().collect()["record"].to_list() == [
        json.dumps(row, ensure_ascii=False) for row in samples()
    ]
    assert store.examples("sums")["subtask"].to_list() == ["x", "y", "x", "y", "x"]
    manifest = store.manifest
    assert manifest.gradients == {"samples": "adam", "tasks": "sgd"}
    assert manifest.projection["type"] == "sjlt"
    assert manifest.model["adapter"]["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    settings = manifest.producer["settings"]
    assert settings["dtype"] == "fp32"
    assert {**CollectSettings().document(), **settings} == settings
    assert set(manifest.producer["digests"]) == {
        "model", "template", "checkpoints", "pool", "tasks",
    }  # fmt: skip
    assert not (collected / ".collect").exists()


def test_a_sample_cut_away_is_flagged_with_its_reason(collected):
    store = open_store(collected)
    assert np.flatnonzero(store.norms()[:, 0] == 0).tolist() == [5]
    assert store.manifest.invalid == {"zero": 1, "nan": 0, "inf": 0}
    (told,) = map(json.loads, (collected / "invalid.jsonl").read_text("utf-8").splitlines())
    assert told["id"] == "s5"
    assert told["reason"] == "completion cut away"
    assert told["checkpoints"] == [c.name for c in store.checkpoints]


def test_the_projection_error_is_measured(collected):
    error = open_store(collected).manifest.producer["projection_error"]
    assert error["dim"] == 32
    assert error["against"] == 2 * 4 * 2 * 2 * 16
    assert (error["samples"], error["examples"], error["checkpoints"]) == (20, 5, 2)
    assert -1 <= error["spearman"] <= 1
    assert 0 < error["rms"] < 4 * error["expected"]


def test_the_projection_error_is_of_influences_over_all_checkpoints(collected, given, tmp_path):
    whole = tmp_path / "whole"
    assert main([*given, "--out", str(whole), "--projection", "none"]) == 0
    small, large = (_influences(open_store(folder)) for folder in (collected, whole))
    error = open_store(collected).manifest.producer["projection_error"]
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (small, large)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(error["spearman"], abs=0.02)
    assert np.sqrt(np.mean((small - large) ** 2)) == pytest.approx(error["rms"], rel=0.02)


def _influences(store):
    sizes = np.array([c.step_size for c in store.checkpoints])
    found = np.zeros(store.n_samples)
    for at, weight in enumerate(sizes / sizes.sum()):
        rows = np.concatenate([store.part_rows(part, at)[0] for part in range(3)])
        target = store.task_rows("sums", at)[0].astype(np.float64).mean(axis=0)
        found += weight * (rows.astype(np.float64) @ target)
    return found


def test_the_health_card_tells_the_projection_error(collected, tmp_path, capsys):
    error = open_store(collected).manifest.producer["projection_error"]
    assert main(["inspect", str(collected), "--workspace", str(tmp_path)]) == 0
    told = f"[!] Projection: influences at 32 numbers rank {error['samples']} samples as those at"
    assert f"{told} 512 do with a correlation of {error['spearman']:.2f}" in capsys.readouterr().out


def test_the_warm_up_leaves_checkpoints_with_their_step_sizes(collected):
    store = open_store(collected)
    assert [c.step for c in store.checkpoints] == [2, 4]
    for checkpoint in store.checkpoints:
        folder = collected / "warmup" / checkpoint.name
        state = json.loads((folder / "trainer_state.json").read_text())
        rates = [entry["learning_rate"] for entry in state["log_history"]]
        assert checkpoint.step_size == pytest.approx(np.mean(rates))
        assert len(load_file(folder / "optimizer.safetensors")) == 2 * len(
            load_file(folder / "adapter_model.safetensors")
        )


def test_it_says_what_it_will_cost_before_it_begins(given, tmp_path, capsys):
    out = tmp_path / "store"
    assert main([*given, "--out", str(out), "--dry-run", "--json"]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["bytes"] == (20 + 5) * 2 * (2 * 32 + 4)
    assert "20 samples and 5 examples at 2 checkpoints: 3 kB of gradients, about" in told.err
    assert not out.exists()


def test_the_same_command_again_computes_nothing(collected, given, capsys):
    before = contents(collected)
    assert main([*given, "--out", str(collected)]) == 0
    assert "whole already" in capsys.readouterr().out
    assert contents(collected) == before


def test_a_limit_is_a_limit(given, tmp_path):
    assert main([*given, "--out", str(tmp_path / "s"), "--limit", "9"]) == 0
    store = open_store(tmp_path / "s")
    assert [part.rows for part in store.manifest.parts] == [8, 1]


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_changes_rows_only_a_little(given, collected, tmp_path, dtype):
    assert main([*given, "--out", str(tmp_path / "s"), "--dtype", dtype]) == 0
    one, other = open_store(collected), open_store(tmp_path / "s")
    for part in range(3):
        rows = [store.part_rows(part, 0)[0].astype(np.float64) for store in (one, other)]
        cosines = (rows[0] * rows[1]).sum(axis=1)
        assert np.median(cosines) > 0.98
    assert other.manifest.invalid == one.manifest.invalid


# --- killed and resumed ----------------------------------------------------------------------


def run_and_kill(arguments, folder, *, after):
    """Start the command in a process of its own and kill it when `after(folder)` holds."""
    process = begin([*arguments, "--out", str(folder)], folder.with_name("told"))
    until = time.monotonic() + 150
    while not after(folder) and process.is_alive() and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def test_killed_anywhere_it_goes_on_to_the_same_bytes(given, tmp_path):
    # Slow enough to be caught in the middle: more samples, a batch for each.
    pool = write_lines(tmp_path / "pool.jsonl", samples(64))
    given = [*given[:4], str(pool), *given[5:], "--max-batch-samples", "1"]
    assert main([*given, "--out", str(tmp_path / "whole")]) == 0
    folder = tmp_path / "killed"
    moments = [
        lambda f: (f / "warmup" / "step-00007" / "trainer_state.json").exists(),
        lambda f: len(list(f.glob("gradients/*/*.safetensors"))) >= 5,
    ]
    for after in moments:
        assert run_and_kill(given, folder, after=after)
        assert not (folder / "manifest.json").exists()
        assert (folder / ".collect" / "plan.json").exists()
    (folder / "gradients" / ".part-00000.safetensors.0123.tmp").write_bytes(b"half")
    assert main([*given, "--out", str(folder)]) == 0
    assert contents(folder) == contents(tmp_path / "whole")


def interrupted(given, folder, monkeypatch):
    """A collection that stopped after its plan was made."""
    with monkeypatch.context() as patch:
        patch.setattr("gtp_core.collect.session.Session._collected", lambda self, maker: {})
        with pytest.raises(KeyError):
            main([*given, "--out", str(folder)])
    assert (folder / ".collect" / "plan.json").is_file()


def test_it_refuses_to_go_on_with_anything_else(given, tmp_path, model_folder, monkeypatch, capsys):
    folder = tmp_path / "store"
    interrupted(given, folder, monkeypatch)
    same = [*given, "--out", str(folder)]
    pool = write_lines(tmp_path / "pool.jsonl", samples(19))
    refused(capsys, [*same, "--pool", str(pool)], "another pool", "another folder")
    task = write_lines(tmp_path / "sums.jsonl", examples(4))
    refused(capsys, [*same, "--task", f"more={task}"], "another tasks")
    refused(capsys, [*same, "--dim", "33"], "another dim (32; now 33)")
    refused(capsys, [*same, "--template", "plain"], "another template")
    other = tmp_path / "other"
    LlamaForCausalLM.from_pretrained(model_folder).half().save_pretrained(other)
    byte_tokenizer(CHAT).save_pretrained(other)
    refused(capsys, [*given[:2], str(other), *given[3:], "--out", str(folder)], "another model")
    assert main(same) == 0
    refused(capsys, [*same, "--dim", "33"], "finished store", "another dim")


def test_files_that_no_plan_vouches_for_are_made_again(given, collected, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(collected, folder)
    (folder / "manifest.json").unlink()
    wrong = folder / "gradients" / "step-00002" / "part-00000.safetensors"
    wrong.write_bytes((folder / "gradients/step-00004/part-00000.safetensors").read_bytes())
    assert main([*given, "--out", str(folder)]) == 0
    assert contents(folder) == contents(collected)


# --- more of it ------------------------------------------------------------------------------


def test_appending_keeps_what_is_there(given, collected, tmp_path):
    whole = tmp_path / "whole"
    pool = write_lines(tmp_path / "more.jsonl", samples(10, start=20))
    task = write_lines(tmp_path / "minus.jsonl", examples(3))
    assert main([*given, "--out", str(whole)]) == 0
    before = contents(whole)
    start = ["collect", "--model", given[2], "--out", str(whole), "--append"]
    more = [*start, "--pool", str(pool), "--task", f"minus={task}"]
    assert main(more) == 0
    after = contents(whole)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"manifest.json"}
    store = open_store(whole)
    assert [part.rows for part in store.manifest.parts] == [8, 8, 4, 8, 2]
    assert store.task_names == ("sums", "minus")
    store.verify()
    assert main(more) == 0
    assert contents(whole) == after


def test_appended_rows_are_those_of_a_store_made_at_once(given, collected, tmp_path):
    folder = tmp_path / "store"
    assert main([*given, "--out", str(folder)]) == 0
    task = write_lines(tmp_path / "again.jsonl", examples())
    start = ["collect", "--model", given[2], "--out", str(folder), "--append"]
    assert main([*start, "--task", f"again={task}"]) == 0
    store = open_store(folder)
    error = store.manifest.producer["projection_error"]
    assert error["tasks"]["again"] == error["tasks"]["sums"]  # the same texts, measured on its own
    assert error["examples"] == 10
    for checkpoint in range(2):
        one, other = (store.task_rows(name, checkpoint) for name in ("sums", "again"))
        np.testing.assert_array_equal(one[0], other[0])


def test_appending_refuses_what_does_not_belong(given, collected, tmp_path, capsys):
    before = contents(collected)
    pool = write_lines(tmp_path / "more.jsonl", samples(3, start=20))
    start = ["collect", "--model", given[2], "--out", str(collected), "--append"]
    refused(capsys, [*start, "--pool", str(pool), "--seed", "1"], "another seed")
    refused(capsys, [*start, "--pool", str(pool), "--gradients", "sgd"], "another gradients")
    refused(capsys, [*start, "--pool", str(pool), "--max-tokens", "47"], "another template")
    again = write_lines(tmp_path / "again.jsonl", samples(3, start=4))
    refused(capsys, [*start, "--pool", str(again)], "sample id 's4'")
    task = write_lines(tmp_path / "other.jsonl", examples(2))
    refused(capsys, [*start, "--task", f"sums={task}"], "task sums is in")
    refused(capsys, start, "nothing to collect")
    assert {n: d for n, d in contents(collected).items() if not n.startswith(".")} == before


LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
QUIET = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


def launched(arguments):
    """Two processes with these arguments, and what they have said once they have ended."""
    return subprocess.run(
        [*LAUNCH, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        env=QUIET,
    )


def test_two_processes_make_the_same_store(given, collected, tmp_path):
    folder = tmp_path / "store"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        begin(
            [*given, "--out", str(folder), "--json"],
            tmp_path / f"told{rank}",
            both | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for process in processes:
        process.join(200)
    said = [(tmp_path / f"told{rank}.err").read_text() for rank in range(2)]
    assert [process.exitcode for process in processes] == [0, 0], said
    told = [line for text in said for line in text.splitlines() if line.startswith("2 processes: ")]
    assert len(told) == 1
    out = "".join((tmp_path / f"told{rank}.out").read_text() for rank in range(2))
    assert json.loads(out.strip())["n_samples"] == 20
    assert contents(folder) == contents(collected)


def test_a_killed_process_ends_all_and_the_same_command_goes_on(given, tmp_path):
    pool = write_lines(tmp_path / "pool.jsonl", samples(96))
    given = [*given[:4], str(pool), *given[5:], "--max-batch-samples", "1"]
    assert main([*given, "--out", str(tmp_path / "whole")]) == 0
    folder = tmp_path / "store"
    command = ["-m", "gtp_core", *given, "--out", str(folder)]
    with subprocess.Popen(
        [*LAUNCH, *command],
        cwd=ROOT,
        env=QUIET,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as launcher:
        until = time.monotonic() + 200
        while len(list(folder.glob("gradients/*/*.safetensors"))) < 3:
            assert launcher.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)
        victim = next(
            child
            for child in psutil.Process(launcher.pid).children(recursive=True)
            if child.environ().get("RANK") == "1"
        )
        victim.kill()
        assert launcher.wait(timeout=60) != 0
    assert not (folder / "manifest.json").exists()
    done = launched(command)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(folder) == contents(tmp_path / "whole")


LATE = """
import time
from datetime import timedelta
from gtp_core.collect import world as home
home.PATIENCE = timedelta(seconds=1)
world = home.World("cpu")
assert world.count == 2
print("begun", flush=True)
time.sleep(4 if world.is_first else 0)
world.wait()
print("waited", flush=True)
"""


def test_processes_wait_as_long_as_the_first_may_train(tmp_path):
    # It is this number that ends their waiting, and torch's own would be 30 minutes.
    script = tmp_path / "late.py"
    script.write_text(LATE)
    done = subprocess.run(
        [*LAUNCH, str(script)],
        env={**QUIET, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.count("begun") == 2, done.stderr[-2000:]
    assert done.returncode != 0
    assert done.stdout.count("waited") < 2
    assert timedelta(days=7) <= PATIENCE


# --- a model by its name on the hub --------------------------------------------------------------


@pytest.fixture
def hub(model_folder, tmp_path):
    """A cache as the hub's library leaves it, which holds one model; nothing is asked outside."""
    cache, revision = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--some-one--tiny-llama"
    shutil.copytree(model_folder, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def named(given, hub, name, folder):
    """The command with a model's name, in a process that reads this cache."""
    command = [sys.executable, "-m", "gtp_core", *given[:2], name, *given[3:], "--out", str(folder)]
    return subprocess.run(
        command, cwd=ROOT, env=hub, capture_output=True, text=True, timeout=100, check=False
    )


def test_a_model_is_found_by_its_name(given, collected, hub, tmp_path):
    folder = tmp_path / "store"
    done = named(given, hub, "some-one/tiny-llama", folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert open_store(folder).manifest.model["id"] == "some-one/tiny-llama"
    assert units_of(folder) == units_of(collected)


def test_a_name_that_is_nowhere_is_one_sentence(given, hub, tmp_path):
    done = named(given, hub, "some-one/else", tmp_path / "store")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "some-one/else is no folder here and no model the hub gives" in done.stderr


# --- memory --------------------------------------------------------------------------------------


def test_a_tenfold_pool_needs_no_more_memory(given, tmp_path):
    peaks = []
    for count in (300, 3000):
        pool = write_lines(tmp_path / f"{count}.jsonl", samples(count))
        # Rows of 32 kB: all of the larger pool at once would be 98 MB.
        wide = ["--projection", "sjlt", "--dim", "8192", "--epochs", "1", "--part-rows", "64"]
        wide += ["--warmup-share", "0.01", "--max-batch-tokens", "2000"]
        command = [*given[:4], str(pool), *given[5:], *wide, "--out", str(tmp_path / f"s{count}")]
        told = tmp_path / f"told{count}"
        process = begin(command, told)
        process.join()
        assert process.exitcode == 0, told.with_suffix(".err").read_text()
        peaks.append(int(told.with_suffix(".peak").read_text()) / 1024)  # kB on Linux
    assert peaks[1] - peaks[0] < 40, peaks


# --- checkpoints of the user's own training ------------------------------------------------------


@pytest.fixture
def trainer_run(collected, tmp_path):
    """The warm-up's checkpoints as a Trainer saves them: optimizer.pt with numbers for names."""
    folder = tmp_path / "run"
    for at, source in enumerate(sorted((collected / "warmup").iterdir())):
        target = folder / f"checkpoint-{2 * at + 2}"
        shutil.copytree(source, target)
        names, state = moments_in(source)
        (target / "optimizer.safetensors").unlink()
        save_optimizer(target / "optimizer.pt", dict(enumerate(state.values())), [len(names), 0])
    return folder


def moments_in(folder):
    """Names in the model's order, and Adam's state of each."""
    tensors = load_file(folder / "optimizer.safetensors")
    names = [name.removeprefix("exp_avg.") for name in tensors if name.startswith("exp_avg.")]
    # The model's order: layer, then q, k, v, o, then A before B.
    names.sort(key=lambda n: (n.split(".")[4], "qkvo".index(n.split(".")[6][0]), n))
    return names, {
        name: {
            "step": torch.tensor(1.0),
            "exp_avg": tensors[f"exp_avg.{name}"],
            "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
        }
        for name in names
    }


def save_optimizer(path, state, groups):
    keys, listed = list(state), []
    for size in groups:
        listed.append({"params": keys[:size], "betas": (0.9, 0.999), "eps": 1e-8, "lr": 0.0})
        keys = keys[size:]
    torch.save({"state": state, "param_groups": listed}, path)


def units_of(folder):
    return {name: digest for name, digest in contents(folder).items() if "gradients/" in name}


def test_checkpoints_of_a_trainer_give_what_the_warm_up_gave(given, collected, trainer_run):
    folder = trainer_run.parent / "store"
    assert main([*given, "--out", str(folder), "--checkpoints", str(trainer_run)]) == 0
    store, ours = open_store(folder), open_store(collected)
    assert store.checkpoints == ours.checkpoints
    assert units_of(folder) == units_of(collected)
    assert len(units_of(folder)) == 6
    assert not (folder / "warmup").exists()


def test_optimizer_states_with_names_are_read(given, collected, trainer_run):
    for folder in trainer_run.iterdir():
        (folder / "optimizer.pt").unlink()
        _, state = moments_in(collected / "warmup" / f"step-{int(folder.name[11:]):05d}")
        # As FSDP writes it: by name, and not in the model's order.
        wrapped = {f"module.{name}": state[name] for name in sorted(state, reverse=True)}
        save_optimizer(folder / "optimizer.bin", wrapped, [len(wrapped)])
    out = trainer_run.parent / "store"
    assert main([*given, "--out", str(out), "--checkpoints", str(trainer_run)]) == 0
    assert units_of(out) == units_of(collected)


def test_checkpoints_that_do_not_fit_are_refused(given, trainer_run, capsys):
    out = trainer_run.parent / "store"
    asked = [*given, "--out", str(out), "--checkpoints", str(trainer_run)]
    first = trainer_run / "checkpoint-2"
    optimizer = first / "optimizer.pt"
    saved = optimizer.read_bytes()
    names, state = moments_in_trainer(optimizer)
    save_optimizer(optimizer, {n: state[n] for n in names[:-1]}, [len(names) - 1])
    refused(capsys, asked, "optimizer.pt does not fit the model", "missing")
    torch.save({"state": {0: {"momentum": torch.zeros(1)}}, "param_groups": []}, optimizer)
    refused(capsys, asked, "no state of Adam")
    optimizer.write_bytes(saved[:100])
    refused(capsys, asked, "cannot be read as tensors")
    torch.save(Evil(), optimizer)
    refused(capsys, asked, "holds code")
    optimizer.unlink()
    refused(capsys, asked, "no optimizer state", "--gradients sgd")
    state = json.loads((first / "trainer_state.json").read_text())
    (first / "trainer_state.json").write_text(json.dumps({**state, "log_history": []}))
    refused(capsys, [*asked, "--gradients", "sgd"], "logs no learning rate")
    refused(capsys, [*asked[:-1], str(out)], "no checkpoint of LoRA training")


def moments_in_trainer(path):
    state = torch.load(path, weights_only=True)["state"]
    return list(state), state


class Evil:
    """What a pickle may do when it is trusted."""

    def __reduce__(self):
        return os.system, ("false",)


def test_a_warm_up_may_start_from_an_adapter(given, collected, trainer_run):
    folder = trainer_run.parent / "store"
    adapter = trainer_run / "checkpoint-2"
    assert main([*given, "--out", str(folder), "--adapter", str(adapter), "--epochs", "1"]) == 0
    started, ended = (
        load_file(path / "adapter_model.safetensors")
        for path in (adapter, next((folder / "warmup").iterdir()))
    )
    moved = sum(float((ended[n] - started[n]).abs().mean()) for n in started)
    size = sum(float(started[n].abs().mean()) for n in started)
    assert 0 < moved < size
