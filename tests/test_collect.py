"""Promises of gtp_core.collect: exact per-sample gradients, whatever the batch."""

import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gtp_core.collect import (
    Encoded,
    GradientModel,
    Moments,
    WarmupSettings,
    add_lora,
    collect_store,
    gradient_rows,
    load_adapter,
    warm_up,
)
from gtp_core.collect.checkpoints import flat
from gtp_core.collect.encode import batches, encode, mean_losses, pad
from gtp_core.collect.philox import philox, random_bytes, random_words
from gtp_core.collect.projection import Rademacher, Sjlt, Unprojected, make_projection
from gtp_core.collect.repeatable import repeatable
from gtp_core.collect.warmup import chosen_rows, train_epochs
from gtp_core.collect.work import RowMaker
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
    chat_template = None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [1 + ord(letter) % 30 for letter in text]


def small_model(dtype=torch.float32, dropout=0.0, targets=TARGETS):
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
        model = add_lora(
            LlamaForCausalLM(config), rank=3, alpha=6, target_modules=targets, dropout=dropout
        )
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


def test_logits_are_made_of_learned_positions_alone():
    model, seen = small_model(), []
    samples = [Encoded((3, 4, 5, 6), (7, 8)), Encoded((3,), (4, 5, 6), silent=(1,))]
    handle = model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, output: seen.append(tuple(output.shape))
    )
    GradientModel(model, pad_id=0).gradients(samples)
    handle.remove()
    assert seen == [(1, 4, 32)]


def test_a_head_that_is_trained_is_collected_too():
    model = small_model(torch.float64, targets=("v_proj", "lm_head"))
    source, samples = GradientModel(model, pad_id=0), some_samples()
    single = torch.stack([one_at_a_time(model, sample) for sample in samples])
    torch.testing.assert_close(source.gradients(samples), single, rtol=1e-9, atol=1e-12)


def test_nothing_is_computed_below_the_first_trained_layers():
    model, reached = small_model(targets=("v_proj",)), []
    query = model.base_model.model.model.layers[0].self_attn.q_proj
    query.register_full_backward_hook(lambda *_: reached.append("query"))
    GradientModel(model, pad_id=0).gradients(some_samples())
    assert reached == []


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


def test_gradients_come_in_groups_that_hold_every_column_once(monkeypatch):
    monkeypatch.setattr("gtp_core.collect.gradients.GROUP_COLUMNS", 150)
    source, samples = GradientModel(small_model(), pad_id=0), some_samples(4)
    found = []
    source.each_group(samples, lambda columns, values: found.append((columns, values)))
    found.sort(key=lambda pair: pair[0].start)
    assert len(found) > 3
    assert [c.start for c, _ in found] == [0, *(c.stop for c, _ in found[:-1])]
    whole = torch.cat([values for _, values in found], dim=1)
    torch.testing.assert_close(whole, source.gradients(samples), rtol=0, atol=0)


def test_a_loss_scale_is_divided_out():
    model, samples = small_model(torch.float64), some_samples(3)
    plain = GradientModel(model, pad_id=0).gradients(samples)
    scaled = GradientModel(model, pad_id=0, loss_scale=1024.0).gradients(samples)
    torch.testing.assert_close(scaled, plain, rtol=1e-12, atol=0)


def test_a_layer_called_twice_gives_the_sum():
    model = small_model(torch.float64)
    layers = model.base_model.model.model.layers
    layers[1].mlp.down_proj = layers[0].mlp.down_proj
    source, samples = GradientModel(model, pad_id=0), some_samples(3)
    single = torch.stack([one_at_a_time(model, sample) for sample in samples])
    torch.testing.assert_close(source.gradients(samples), single, rtol=1e-9, atol=1e-12)


def test_a_layer_that_mixes_samples_is_refused():
    model = small_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad:
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].flatten(0, 1),))
            break
    with pytest.raises(CollectError, match="samples can be told apart"):
        GradientModel(model, pad_id=0).gradients(some_samples(2))


def test_every_answer_of_a_chat_counts_and_nothing_between():
    model = small_model(torch.float64)
    chat = Encoded((3, 4), (5, 6, 7, 8, 9), silent=(1, 2))
    ids = torch.tensor([chat.prompt + chat.completion])
    model.zero_grad(set_to_none=True)
    logits = model(input_ids=ids, use_cache=False).logits[0]
    # Positions 2, 5 and 6 are learned; each is told by the logits one place before.
    torch.nn.functional.cross_entropy(logits[[1, 4, 5]], ids[0, [2, 5, 6]]).backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    found = GradientModel(model, pad_id=0).gradients([chat])[0]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert chat.n_learned == 3


def test_adam_row_against_a_hand_computation():
    # t = 1: 1 - b2^2 = 0.001999; v' = 0.999 * 0.004 + 0.001 * 4 = 0.007996 -> root is exactly 2
    moment = torch.tensor([0.004, 0.004], dtype=torch.float64)
    row = gradient_rows(
        torch.tensor([[2.0, 0.0]], dtype=torch.float64),
        kind="adam",
        moments=Moments(torch.full((2,), 7.0), moment, step=1),
    )
    root = np.sqrt(0.007996 / 0.001999)
    np.testing.assert_allclose(root, 2.0)
    np.testing.assert_allclose(row, [[2.0 / (root + 1e-8), 0.0]], rtol=1e-12)


def test_adam_row_is_the_step_of_torchs_own_adam_without_momentum():
    generator = torch.Generator().manual_seed(3)
    weight = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    rate, betas = 0.1, (0.0, 0.95)
    optimizer = torch.optim.Adam([weight], lr=rate, betas=betas, eps=1e-6)
    for _ in range(4):
        weight.grad = torch.randn(6, dtype=torch.float64, generator=generator)
        optimizer.step()
    second = optimizer.state[weight]["exp_avg_sq"].clone()
    before = weight.detach().clone()
    weight.grad = torch.randn(6, dtype=torch.float64, generator=generator)
    moments = Moments(torch.zeros(6), second, step=4, beta2=0.95, eps=1e-6)
    row = gradient_rows(weight.grad[None].clone(), kind="adam", moments=moments)[0]
    optimizer.step()
    torch.testing.assert_close(before - weight.detach(), rate * row, rtol=1e-12, atol=0)


def test_adam_less_row_is_less_as_coded():
    raw = torch.tensor([[2.0, 0.0, -1e-6]], dtype=torch.float64)
    first = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    second = torch.tensor([0.004, 0.0, 0.0], dtype=torch.float64)
    wanted = [
        (0.9 * m + 0.1 * g) / np.sqrt(0.999 * v + 0.001 * g * g + 1e-8)
        for g, m, v in zip(raw[0].tolist(), first.tolist(), second.tolist(), strict=True)
    ]
    moments = Moments(first, second, step=30, beta2=0.5, eps=1.0)
    row = gradient_rows(raw, kind="adam-less", moments=moments)
    np.testing.assert_allclose(row, [wanted], rtol=1e-12)


def test_sgd_and_sign_rows():
    raw = torch.tensor([[2.0, 0.0, -0.5]])
    np.testing.assert_array_equal(gradient_rows(raw, kind="sgd"), [[2.0, 0.0, -0.5]])
    np.testing.assert_array_equal(gradient_rows(raw, kind="sign"), [[1.0, 0.0, -1.0]])
    with pytest.raises(ValueError, match="adam"):
        gradient_rows(raw, kind="adam")


def test_random_bits_are_numpys_on_every_device():
    cpu = torch.device("cpu")
    generator = np.random.Generator(np.random.Philox(key=[3, 7]))
    wanted = np.frombuffer(generator.bytes(8 * 1003), np.uint64)
    # What runs on other devices, run on this one.
    found = philox(3, 7, 1003, 0, device=cpu).numpy().view(np.uint64)
    np.testing.assert_array_equal(found, wanted)
    for start, count in ((0, 9), (7, 100), (1000, 3)):
        words = random_words(3, 7, count, start=start, device=cpu).numpy().view(np.uint64)
        np.testing.assert_array_equal(words, wanted[start : start + count])
        skipped = start % 4
        there = philox(3, 7, skipped + count, start // 4, device=cpu)[skipped:]
        np.testing.assert_array_equal(there.numpy().view(np.uint64), words)
    assert random_bytes(3, 7, 13, device=cpu).tolist() == list(wanted.tobytes()[:13])


@pytest.mark.parametrize("kind", [Rademacher, Sjlt])
def test_projection_is_the_same_whatever_the_chunks(kind):
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((9, 10_000)))
    projection = kind(10_000, 100, seed=3)
    whole = projection.project(rows)
    torch.testing.assert_close(whole, kind(10_000, 100, seed=3).project(rows), rtol=0, atol=0)
    parts = torch.cat([projection.project(rows[:4]), projection.project(rows[4:])])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    columns = torch.zeros(9, 100)
    for start, stop in ((4321, 10_000), (0, 37), (37, 4321)):
        projection.add(rows[:, start:stop].float(), start=start, out=columns)
    torch.testing.assert_close(columns, whole, rtol=1e-4, atol=1e-4)
    other = kind(10_000, 100, seed=4).project(rows)
    assert not torch.allclose(other, whole, atol=1.0)


def test_rademacher_entries_are_signs_that_do_not_depend_on_the_length():
    eye = torch.eye(5000)[[0, 4095, 4096, 4999]]
    rows = Rademacher(5000, 64).project(eye)
    np.testing.assert_allclose(rows.abs(), 1 / 8)
    longer = torch.nn.functional.pad(eye, (0, 777))
    torch.testing.assert_close(Rademacher(5777, 64).project(longer), rows, rtol=0, atol=0)


def test_rademacher_is_the_matrix_that_older_stores_were_made_with():
    generator = np.random.Generator(np.random.Philox(key=[9, 1]))
    packed = np.frombuffer(generator.bytes((5000 - 4096) * 3), np.uint8).reshape(-1, 3)
    signs = np.unpackbits(packed, axis=1, count=20).astype(np.float64) * 2 - 1
    found = Rademacher(5000, 20, seed=9).project(torch.eye(5000)[4096:])
    np.testing.assert_allclose(found, signs / np.sqrt(20), rtol=1e-6)


def test_sjlt_has_one_sign_a_column_and_shares_its_places_evenly():
    matrix = Sjlt(700, 50, seed=2).project(torch.eye(700)).numpy()
    assert set(np.unique(matrix)) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(np.abs(matrix).sum(axis=1), np.ones(700))
    np.testing.assert_array_equal(np.abs(matrix).sum(axis=0), np.full(50, 14))
    places = np.abs(matrix).argmax(axis=1).reshape(14, 50)
    assert len({tuple(p) for p in places}) == 14
    assert abs(matrix.sum()) < 4 * np.sqrt(700)


@pytest.mark.parametrize("kind", [Rademacher, Sjlt])
def test_projection_preserves_inner_products(kind):
    generator = np.random.default_rng(2)
    rows = generator.standard_normal((30, 5000)) + generator.standard_normal(5000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    small = kind(5000, 2048).project(rows).numpy().astype(np.float64)
    error = small @ small.T - rows @ rows.T
    # An inner product of unit rows is off by about sqrt(2 / dim) = 0.03 at most.
    assert np.sqrt((error**2).mean()) < 1.5 / np.sqrt(2048)


def test_projection_refuses_other_widths_and_unknown_kinds():
    with pytest.raises(ValueError, match="wanted"):
        Rademacher(10, 4).project(np.zeros((2, 9)))
    with pytest.raises(CollectError, match="'fourier'"):
        make_projection("fourier", input_dim=10, dim=4)


def test_auto_projects_only_what_gets_smaller():
    assert isinstance(make_projection("auto", input_dim=10, dim=10), Unprojected)
    assert make_projection("auto", input_dim=10, dim=64).dim == 10
    assert isinstance(make_projection("auto", input_dim=11, dim=10), Sjlt)
    rows = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Unprojected(10, 10).project(rows), rows)


def one_row_at_a_time(model, samples, *, kind, projection, moments):
    rows = [
        gradient_rows(one_at_a_time(model, sample)[None].float(), kind=kind, moments=moments)
        for sample in samples
    ]
    return projection.project(torch.cat(rows)).numpy()


@pytest.mark.parametrize("kind", ["adam", "adam-less", "sgd", "sign"])
@pytest.mark.parametrize("projected", ["rademacher", "sjlt", "none"])
def test_stored_rows_are_those_of_a_loop_over_single_samples(kind, projected, monkeypatch):
    monkeypatch.setattr("gtp_core.collect.gradients.GROUP_COLUMNS", 200)
    model, samples = small_model(), some_samples(9)
    settings = WarmupSettings(share=1.0, epochs=1, batch_size=3)
    (state,) = warm_up(model, samples, pad_id=0, settings=settings)
    source = GradientModel(model, pad_id=0)
    projection = make_projection(projected, input_dim=source.input_dim, dim=40, seed=3)
    maker = RowMaker(source, [projection], max_batch_tokens=40, max_batch_samples=3)
    maker.move_to(state)
    (found,) = maker.rows(samples, kind)
    load_adapter(model.double(), state)
    wanted = one_row_at_a_time(
        model, samples, kind=kind, projection=projection, moments=state.moments(source.names)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_a_row_without_gradient_is_zero_though_momentum_is_not():
    model = small_model()
    settings = WarmupSettings(share=1.0, epochs=1, batch_size=3)
    (state,) = warm_up(model, some_samples(6), pad_id=0, settings=settings)
    source = GradientModel(model, pad_id=0)
    maker = RowMaker(source, [Sjlt(source.input_dim, 20)], max_batch_tokens=99)
    maker.move_to(state)
    (rows,) = maker.rows([Encoded((1, 2, 3), ()), Encoded((1, 2), (3,))], "adam-less")
    assert np.count_nonzero(rows[0]) == 0
    assert np.count_nonzero(rows[1]) > 0


def test_one_sample_that_breaks_does_not_break_its_batch():
    model = small_model()
    embedding = model.get_input_embeddings().weight
    source, good = GradientModel(model, pad_id=0), [Encoded((1, 2), (3, 4)), Encoded((5,), (6,))]
    maker = RowMaker(source, [Sjlt(source.input_dim, 20)], max_batch_tokens=99)
    (before,) = maker.rows(good, "sgd")
    with torch.no_grad():
        embedding[30] = float("nan")
    (rows,) = maker.rows([good[0], Encoded((30, 2), (3,)), good[1]], "sgd")
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(rows[[0, 2]], before, rtol=1e-5, atol=1e-7)


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


def test_a_warm_up_that_stops_goes_on_as_if_it_had_not():
    settings = WarmupSettings(share=0.5, epochs=3, batch_size=4, seed=2, schedule="cosine")
    samples = some_samples(20)
    chosen = [samples[i] for i in chosen_rows(20, settings)]

    def states(model, done=()):
        return train_epochs(model, chosen, n_pool=20, pad_id=0, settings=settings, done=done)

    def dropping():
        return small_model(dropout=0.3)

    whole = list(states(dropping()))
    one = next(states(dropping()))
    rest = list(states(dropping(), done=[one]))
    names = list(one.weights)
    for now, then in zip([one, *rest], whole, strict=True):
        assert now.checkpoint == then.checkpoint
        for kind in ("weights", "first_moment", "second_moment"):
            pair = (flat(getattr(state, kind), names) for state in (now, then))
            torch.testing.assert_close(*pair, rtol=0, atol=0)


def test_a_batch_in_pieces_teaches_the_same():
    settings = WarmupSettings(share=1.0, epochs=1, batch_size=8)
    found = []
    for limit in (None, 30):
        model, samples = small_model(torch.float64), some_samples(16)
        states = train_epochs(
            model, samples, n_pool=16, pad_id=0, settings=settings, max_batch_tokens=limit
        )
        found.append(next(iter(states)))
    names = list(found[0].weights)
    one, other = (flat(state.weights, names) for state in found)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


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
