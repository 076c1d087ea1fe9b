"""Promises of gtp_core.collect: exact per-sample gradients, whatever the batch."""

import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gtp_core.collect import (
    Encoded,
    GradientModel,
    Projection,
    WarmupSettings,
    add_lora,
    collect_store,
    encode,
    gradient_rows,
    load_adapter,
    repeatable,
    warm_up,
)
from gtp_core.collect.encode import batches, mean_losses, pad
from gtp_core.collect.gradients import flat
from gtp_core.errors import CollectError

TARGETS = ("q_proj", "v_proj", "down_proj")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads gain nothing on matrices this small, and wait for each other on a busy core."""
    with repeatable(seed=0):
        yield


class LetterTokenizer:
    """One token a character; 0 ends a sequence."""

    eos_token_id = 0
    pad_token_id = None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [1 + ord(letter) % 30 for letter in text]


def small_model(dtype=torch.float32):
    config = LlamaConfig(
        vocab_size=32,
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
        torch.manual_seed(5)
        model = add_lora(LlamaForCausalLM(config), rank=3, alpha=6, target_modules=TARGETS)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype)


def some_samples(count=7, seed=1):
    generator = np.random.default_rng(seed)
    return [
        Encoded(
            tuple(generator.integers(1, 32, generator.integers(1, 12)).tolist()),
            tuple(generator.integers(1, 32, generator.integers(1, 9)).tolist()),
        )
        for _ in range(count)
    ]


def one_at_a_time(model, sample):
    """The gradient of one unpadded sample, by an ordinary backward pass and torch's own mean."""
    model.zero_grad(set_to_none=True)
    ids = torch.tensor([sample.prompt + sample.completion])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(sample.prompt) - 1 : -1]
    torch.nn.functional.cross_entropy(logits, ids[0, len(sample.prompt) :]).backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return torch.cat(grads)


def test_batched_gradients_equal_one_at_a_time():
    model = small_model(torch.float64)
    source, samples = GradientModel(model, pad_id=0), some_samples()
    batched = source.gradients(samples)
    single = torch.stack([one_at_a_time(model, sample) for sample in samples])
    assert batched.shape == (7, source.input_dim)
    assert batched.abs().max() > 1e-3
    torch.testing.assert_close(batched, single, rtol=1e-9, atol=1e-12)


def test_order_of_a_row_is_the_order_of_the_parameters():
    model = small_model()
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert list(GradientModel(model, pad_id=0).names) == trainable


@pytest.mark.parametrize("pad_id", [0, 9])
def test_padding_does_not_change_a_gradient(pad_id):
    source = GradientModel(small_model(torch.float64), pad_id=pad_id)
    short, long = Encoded((3, 4), (5, 6)), Encoded(tuple(range(1, 30)), tuple(range(1, 20)))
    alone = source.gradients([short])[0]
    torch.testing.assert_close(source.gradients([long, short])[1], alone, rtol=1e-9, atol=1e-12)


def test_gradients_leave_no_trace_in_the_model():
    model = small_model()
    GradientModel(model, pad_id=0).gradients(some_samples(2))
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_sample_without_completion_has_a_zero_gradient():
    source = GradientModel(small_model(), pad_id=0)
    rows = source.gradients([Encoded((1, 2, 3), ()), Encoded((1, 2), (3,))])
    assert torch.count_nonzero(rows[0]) == 0
    assert torch.count_nonzero(rows[1]) > 0


def test_only_linear_weights_may_be_trainable():
    model = small_model()
    model.get_input_embeddings().weight.requires_grad_(True)
    with pytest.raises(CollectError, match="embed_tokens"):
        GradientModel(model, pad_id=0)


def test_adam_row_against_a_hand_computation():
    # t = 1: 1 - b2^2 = 0.001999; v' = 0.999 * 0.004 + 0.001 * 4 = 0.007996 -> root is exactly 2
    row = gradient_rows(
        torch.tensor([[2.0, 0.0]], dtype=torch.float64),
        kind="adam",
        second_moment=torch.tensor([0.004, 0.004], dtype=torch.float64),
        step=1,
    )
    root = np.sqrt(0.007996 / 0.001999)
    np.testing.assert_allclose(root, 2.0)
    np.testing.assert_allclose(row, [[2.0 / (root + 1e-8), 0.0]], rtol=1e-12)


def test_sgd_and_sign_rows():
    raw = torch.tensor([[2.0, 0.0, -0.5]])
    np.testing.assert_array_equal(gradient_rows(raw, kind="sgd"), [[2.0, 0.0, -0.5]])
    np.testing.assert_array_equal(gradient_rows(raw, kind="sign"), [[1.0, 0.0, -1.0]])
    with pytest.raises(ValueError, match="adam"):
        gradient_rows(raw, kind="adam")


def test_projection_is_the_same_whatever_the_chunks():
    rows = np.random.default_rng(0).standard_normal((9, 10_000)).astype(np.float32)
    projection = Projection(10_000, 100, seed=3)
    whole = projection.project(rows)
    np.testing.assert_array_equal(whole, Projection(10_000, 100, seed=3).project(rows))
    parts = np.concatenate([projection.project(rows[:4]), projection.project(rows[4:])])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4)
    assert not np.allclose(Projection(10_000, 100, seed=4).project(rows), whole, atol=1.0)


def test_projection_matrix_is_signs_that_do_not_depend_on_the_length():
    eye = np.eye(5000, dtype=np.float32)[[0, 4095, 4096, 4999]]
    rows = Projection(5000, 64).project(eye)
    np.testing.assert_allclose(np.abs(rows), 1 / 8)
    longer = np.pad(eye, ((0, 0), (0, 777)))
    np.testing.assert_array_equal(Projection(5777, 64).project(longer), rows)


def test_projection_preserves_inner_products():
    generator = np.random.default_rng(2)
    rows = generator.standard_normal((30, 5000)) + generator.standard_normal(5000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    small = Projection(5000, 2048).project(rows).astype(np.float64)
    error = small @ small.T - rows @ rows.T
    # An inner product of unit rows is off by about sqrt(2 / dim) = 0.03 at most.
    assert np.sqrt((error**2).mean()) < 1.5 / np.sqrt(2048)


def test_projection_refuses_other_widths():
    with pytest.raises(ValueError, match="wanted"):
        Projection(10, 4).project(np.zeros((2, 9)))


def test_encode_masks_the_prompt_and_supervises_the_end():
    sample = encode(LetterTokenizer(), "ab", "c", max_tokens=10)
    labels = pad([sample, Encoded((1,), (2,))], pad_id=0)["labels"]
    assert sample.completion[-1] == 0
    line_end = len("\n")
    wanted = [-100] * (2 + line_end) + [1 + ord("c") % 30, 0]
    assert labels.tolist() == [wanted, [-100, 2, -100, -100, -100]]
    assert encode(LetterTokenizer(), "abc", "d", max_tokens=4).completion == ()


def test_mean_loss_is_torchs_own_for_one_sample():
    logits = torch.randn(1, 5, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, -100, 4, 5, 6]])
    wanted = torch.nn.functional.cross_entropy(logits[0, 1:4], labels[0, 2:])
    torch.testing.assert_close(mean_losses(logits, labels)[0], wanted)


def test_batches_hold_every_sample_once():
    samples = some_samples(50)
    found = list(batches(samples, max_batch_tokens=40))
    assert sorted(i for batch in found for i in batch) == list(range(50))
    assert all(len(b) * max(len(samples[i]) for i in b) <= 40 for b in found)


def test_warm_up_is_deterministic_and_keeps_what_adam_rows_need():
    settings = WarmupSettings(share=0.5, epochs=3, batch_size=4, seed=2)
    runs = []
    for _ in range(2):
        model = small_model()
        runs.append(warm_up(model, some_samples(20), pad_id=0, settings=settings))
    names = GradientModel(model, pad_id=0).names
    for one, other in zip(*runs, strict=True):
        assert one.checkpoint == other.checkpoint
        torch.testing.assert_close(
            flat(one.weights, names), flat(other.weights, names), rtol=0, atol=0
        )
        assert flat(one.second_moment, names).gt(0).any()
    assert [s.checkpoint.step for s in runs[0]] == [3, 6, 9]
    sizes = [s.checkpoint.step_size for s in runs[0]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0
    load_adapter(model, runs[0][0])
    weights = dict(model.named_parameters())
    assert all(torch.equal(weights[n], runs[0][0].weights[n]) for n in names)


def test_warm_up_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    warm_up(small_model(), some_samples(6), pad_id=0, settings=WarmupSettings(share=1.0, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def pool_lines(count=12):
    return [
        json.dumps({"id": f"s{i}", "source": "x", "prompt": "q" * (i + 1), "completion": "a" * 3})
        for i in range(count)
    ]


def collected(folder, **changes):
    model, tokenizer = small_model(), LetterTokenizer()
    texts = [encode(tokenizer, "q", "a" * (i + 1), max_tokens=40) for i in range(8)]
    states = warm_up(model, texts, pad_id=0, settings=WarmupSettings(share=1.0, epochs=2))
    example = {"example_id": "e", "subtask": "t", "prompt": "qq", "completion": "b"}
    options = {"dim": 24, "seed": 1, "max_tokens": 10, "name": "tiny", **changes}
    tasks = {"letters": [example]}
    return collect_store(model, tokenizer, states, pool_lines(), tasks, folder, **options)


def test_collect_store_flags_invalid_rows_and_keeps_every_line(tmp_path):
    store = collected(tmp_path / "store")
    samples = store.samples().collect()
    assert samples["record"].to_list() == pool_lines()
    # With its line end, a prompt of 9 letters and more leaves no room for a completion.
    np.testing.assert_array_equal(store.norms()[:, 0] == 0, np.arange(12) >= 9 - 1)
    assert store.manifest.invalid["zero"] == 4
    assert samples["n_tokens"].to_list()[:8] == [min(10, i + 2 + 4) for i in range(8)]
    assert store.manifest.projection["dim"] == 24
    assert store.verify() > 0


def test_parts_and_batches_do_not_change_the_rows(tmp_path):
    one = collected(tmp_path / "one")
    many = collected(tmp_path / "many", part_rows=5, max_batch_tokens=20)
    assert len(many.manifest.parts) == 3
    rows = np.concatenate([many.part_rows(p, 1)[0] for p in range(3)])
    np.testing.assert_allclose(rows, one.part_rows(0, 1)[0], atol=2e-3)


@pytest.mark.parametrize("line", ["no json", '{"id": "a"}', "[1]"])
def test_a_bad_line_is_named(tmp_path, line):
    model = small_model()
    states = warm_up(model, some_samples(4), pad_id=0, settings=WarmupSettings(epochs=1))
    with pytest.raises(CollectError, match="line 1 "):
        collect_store(model, LetterTokenizer(), states, [line], {}, tmp_path / "s", dim=4)


def test_an_unknown_gradient_kind_is_refused(tmp_path):
    with pytest.raises(CollectError, match="tasks is 'newton'"):
        collected(tmp_path / "s", gradients={"samples": "adam", "tasks": "newton"})
