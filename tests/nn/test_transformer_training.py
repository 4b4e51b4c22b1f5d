"""Training a population of transformers: bit for bit as alone, as P separate optimisers, and over interruptions."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn import population_memory
from twelvefold.nn.counter_random import dropout_masks, mask_keys
from twelvefold.nn.learning_rate import learning_rate
from twelvefold.nn.transformer import Weights, forward
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batch, Recipe, Trained, train
from twelvefold.nn.transformer_update import Stepper, clip_factors, losses_of

from tests.nn.transformer_cases import (
    BATCH,
    KINDS,
    LENGTH,
    MEMBERS,
    ODD,
    RECIPE,
    Killed,
    Mortal,
    data,
    run,
    same,
    start,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- exactness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [0.5, None])
def test_a_member_of_a_population_trains_as_alone_bit_for_bit(kind, clip):
    recipe = replace(RECIPE, clip=clip, learning_rate=3e-2)
    together = run(KINDS[kind], recipe)
    for member in range(MEMBERS):
        alone = run(KINDS[kind], recipe, slice(member, member + 1))
        for name, weight in together.weights.items():
            assert torch.equal(alone.weights[name][0], weight[member]), (name, member)
        assert torch.equal(alone.records["loss"][0], together.records["loss"][member])
    assert not torch.equal(together.weights["embedding"], start(KINDS[kind])["embedding"])


@pytest.mark.parametrize("kind", ["post", "gpt"])
def test_chunks_do_not_change_results(kind):
    whole = run(KINDS[kind])
    for at_once in (1, 2, 3, 7):
        assert same(run(KINDS[kind], at_once=at_once), whole)


def test_the_size_of_a_chunk_follows_the_memory(monkeypatch):
    asked = []

    def update(stepper: Stepper, _batch: Batch, _step: int) -> Tensor:
        asked.append(len(stepper.keys))
        return torch.zeros(asked[-1])

    monkeypatch.setattr(population_memory, "_CAP", {"cpu": 3 * population_memory.training_bytes(ODD, BATCH, LENGTH)})
    monkeypatch.setattr(Stepper, "update", update)
    run(ODD)
    assert asked == [3] * RECIPE.steps + [2] * RECIPE.steps


def separately(config: TransformerConfig, recipe: Recipe, member: int) -> tuple[Weights, list[float]]:
    """One member with torch's own AdamW, clipping and schedule objects."""
    own = {name: weight[member : member + 1].clone().requires_grad_() for name, weight in start(config).items()}
    matrices = [weight for weight in own.values() if weight.ndim == 3]
    rest = [weight for weight in own.values() if weight.ndim < 3]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": rest, "weight_decay": 0.0}], lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, weight_decay=recipe.weight_decay, foreach=False,
    )  # fmt: skip
    key, losses = mask_keys(10_000, [member], "masks"), []
    for step, batch in enumerate(data(config, recipe)):
        tokens, counted, starts = (None if part is None else part[member : member + 1] for part in batch)
        elements = config.dropout_elements(BATCH, LENGTH)
        masks = dropout_masks(key, step, elements, config.dropout) if config.dropout else None
        logits = forward(config, own, tokens[:, :, :-1], starts=starts, masks=masks)[0]
        loss = F.cross_entropy(logits[counted[0]], tokens[0, :, 1:][counted[0]])
        optimiser.zero_grad()
        loss.backward()
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(own.values(), recipe.clip)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.step()
        losses.append(loss.item())
    return {name: weight.detach()[0] for name, weight in own.items()}, losses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [0.05, None])
def test_a_population_equals_separate_optimisers(kind, clip):
    # epsilon above the gradients' rounding: else Adam turns the sign of a gradient of 1e-9 into a whole step
    recipe = replace(RECIPE, clip=clip, epsilon=1e-4)
    together = run(KINDS[kind], recipe, record_at=list(range(recipe.steps + 1)))
    for member in range(MEMBERS):
        weights, losses = separately(KINDS[kind], recipe, member)
        for name, weight in weights.items():
            assert (together.weights[name][member] - weight).abs().max() <= 1e-6, name
        assert together.records["loss"][member, 1:].tolist() == pytest.approx(losses, abs=1e-5)


def test_clipping_by_hand():
    gradients = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])]
    torch.testing.assert_close(clip_factors(gradients, 1.0), torch.tensor([0.2, 1.0]))


def test_losses_by_hand():
    logits = torch.zeros(2, 1, 3, 4)
    logits[0, 0, 1, 2] = math.log(5.0)  # p(2) = 5 / 8
    tokens = torch.tensor([[[0, 1, 2, 3]], [[3, 3, 3, 3]]])
    counted = torch.tensor([[[False, True, False]], [[True, True, False]]])
    expected = torch.tensor([math.log(8 / 5), math.log(4)])
    torch.testing.assert_close(losses_of(logits, tokens, counted), expected)
    whole = torch.tensor([(2 * math.log(4) + math.log(8 / 5)) / 3, math.log(4)])
    torch.testing.assert_close(losses_of(logits, tokens, None), whole)


def test_tokens_that_are_not_counted_teach_nothing():
    left, right = data(ODD)[0], data(ODD)[0]
    tokens = right.tokens.clone()
    tokens[:, :, -1] = (tokens[:, :, -1] + 1) % 71  # the last token is a target only
    counted = left.counted.clone()
    counted[:, :, -1] = False
    steppers = [Stepper(ODD, RECIPE, start(ODD), mask_keys(10_000, range(MEMBERS), "masks")) for _ in range(2)]
    losses = [steppers[0].update(left._replace(counted=counted), 0),
              steppers[1].update(right._replace(tokens=tokens, counted=counted), 0)]  # fmt: skip
    assert torch.equal(*losses)
    assert all(torch.equal(steppers[0].weights[name], steppers[1].weights[name]) for name in ODD.shapes())


def test_what_is_recorded():
    trained = run(ODD, record_at=(0, 2, 6))
    assert trained.records["loss"].shape == (MEMBERS, 3)
    assert trained.records["step"].tolist() == [[0, 2, 6]] * MEMBERS
    assert not trained.records["loss"][:, 0].any()  # nothing trained yet
    torch.testing.assert_close(trained.records["norm"][:, 0], start(ODD)["embedding"].flatten(1).norm(dim=1))
    torch.testing.assert_close(trained.records["norm"][:, 2], trained.weights["embedding"].flatten(1).norm(dim=1))
    every = run(ODD, record_at=range(7)).records["loss"]
    torch.testing.assert_close(trained.records["loss"][:, 1], every[:, 1:3].mean(1))
    torch.testing.assert_close(trained.records["loss"][:, 2], every[:, 3:].mean(1))
    assert run(ODD, record_at=[4]).records["loss"].shape == (MEMBERS, 1)  # and goes on to the end
    assert torch.equal(run(ODD, record_at=[4]).weights["embedding"], trained.weights["embedding"])


def test_it_learns():
    config, recipe = replace(ODD, dropout=0.05), Recipe(60, 1e-2, warmup=5)
    tokens = torch.arange(8).expand(MEMBERS, BATCH, 8)
    trained = train(config, recipe, start(config), lambda step, rows: Batch(tokens[rows]), record_at=[1, 60],
                    keys=mask_keys(10_000, range(MEMBERS), "masks"), record=lambda *_: {})  # fmt: skip
    assert forward(config, trained.weights, tokens[:, :, :-1]).argmax(-1).equal(tokens[:, :, 1:])
    assert bool((trained.records["loss"][:, 1] < trained.records["loss"][:, 0] / 3).all())


def test_bfloat16_trains_close_to_float32():
    for kind in ("post", "pre"):
        single, half = (run(KINDS[kind], replace(RECIPE, precision=precision)) for precision in ("float32", "bfloat16"))
        assert half.weights["embedding"].dtype == torch.float32
        assert not torch.equal(half.weights["embedding"], single.weights["embedding"])
        torch.testing.assert_close(half.records["loss"], single.records["loss"], atol=0.1, rtol=0.02)


# --- schedules


@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules_equal_torchs(warmup):
    steps, peak = 20, 0.3
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    for decay in ("constant", "linear", "cosine"):
        optimiser = torch.optim.SGD(parameter, lr=peak)
        after = {
            "constant": torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
            "linear": torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps - warmup),
            "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - warmup),
        }[decay]
        for step in range(steps):
            found = learning_rate(step, peak=peak, steps=steps, warmup=warmup, decay=decay)
            if step < warmup:
                assert math.isclose(found, peak * (step + 1) / warmup)
            else:
                assert math.isclose(found, optimiser.param_groups[0]["lr"], rel_tol=1e-9), (decay, step)
                optimiser.step()
                after.step()


def test_schedules_by_hand():
    at = {step: learning_rate(step, peak=1.0, steps=10, warmup=2, decay="linear") for step in (0, 1, 2, 6, 9, 10)}
    assert at == {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5, 9: 0.125, 10: 0.0}
    assert learning_rate(5, peak=2.0, steps=10, warmup=0, decay="cosine") == pytest.approx(1.0)
    assert learning_rate(9, peak=2.0, steps=10, warmup=10, decay="cosine") == 2.0
    for wrong in (dict(decay="step", warmup=0), dict(decay="linear", warmup=-1), dict(decay="linear", warmup=11)):
        with pytest.raises(ValueError, match="decay|warmup"):
            learning_rate(0, peak=1.0, steps=10, **wrong)


# --- interruptions


@pytest.mark.parametrize("kind", ["post", "gpt"])
@pytest.mark.parametrize("after", [1, 4, 6, 7, 9, 12])  # steps over two chunks of six each
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, kind, after):
    whole = run(KINDS[kind], at_once=3)
    mortal = Mortal(tmp_path / "state.npz", every=0)
    mortal.left = after
    with pytest.raises(Killed):
        run(KINDS[kind], at_once=3, checkpoint=mortal)
    asked = []
    resumed = run(KINDS[kind], checkpoint=_Counting(tmp_path / "state.npz", asked))  # the chunks come from the file
    assert same(resumed, whole)
    assert len(asked) == 12 - after  # nothing is computed twice


class _Counting(Checkpoint):
    """Notes every chance to save, that is every update."""

    def __init__(self, path, asked):
        super().__init__(path)
        self.asked = asked

    def save(self, state, force=False):
        self.asked.append(state["current"]["step"])
        return False


def test_a_damaged_checkpoint_starts_anew(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"no archive")
    with pytest.warns(Warning, match="damaged"):
        resumed = run(ODD, checkpoint=Checkpoint(tmp_path / "state.npz"))
    assert same(resumed, run(ODD))


# --- bad input


@pytest.mark.parametrize(("bad", "at_once"), [([1, 4], None), ([4], 2)])
def test_weights_that_are_not_finite_name_their_members(bad, at_once):
    config, weights = replace(ODD, dropout=0.0), start(ODD)
    weights["0.attention.in.weight"][bad] = math.inf
    with pytest.raises(FloatingPointError, match=re.escape(f"members {bad} ")):
        train(config, RECIPE, weights, lambda step, rows: data(config)[step].each(lambda part: part[rows]),
              keys=mask_keys(0, range(MEMBERS), "m"), record_at=[6], record=lambda *_: {}, at_once=at_once)  # fmt: skip


def test_a_member_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(population_memory, "free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match="one member needs about"):
        run(ODD)


@pytest.mark.parametrize("change", [
    dict(steps=0), dict(learning_rate=0.0), dict(learning_rate=float("nan")), dict(warmup=7), dict(warmup=-1),
    dict(decay="step"), dict(clip=0.0), dict(precision="float16"), dict(beta1=1.0), dict(beta2=-0.1),
    dict(epsilon=0.0), dict(weight_decay=-0.1),
])  # fmt: skip
def test_impossible_recipes(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(RECIPE, **change)


@pytest.mark.parametrize("times", [[], [3, 1], [1, 1], [-1, 2], [0, 7]])
def test_impossible_times(times):
    with pytest.raises(ValueError, match="record_at"):
        run(ODD, record_at=times)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="at_once = 0"):
        run(ODD, at_once=0)
    with pytest.raises(ValueError, match="'head.bias' has shape None"):
        run_with(ODD, {name: weight for name, weight in start(ODD).items() if name != "head.bias"}, data(ODD)[0])
    with pytest.raises(ValueError, match="5 members"):
        run_with(ODD, start(ODD, 4), data(ODD)[0])
    batch = data(ODD)[0]
    with pytest.raises(ValueError, match="tokens has shape"):
        run_with(ODD, start(ODD), Batch(batch.tokens[:3]))
    with pytest.raises(ValueError, match="counted has shape"):
        run_with(ODD, start(ODD), batch._replace(counted=batch.counted[:, :1]))
    with pytest.raises(ValueError, match="no token of members"):
        run_with(ODD, start(ODD), batch._replace(counted=batch.counted & (torch.arange(5) != 2)[:, None, None]))
    with pytest.raises(ValueError, match="two tokens"):
        run_with(ODD, start(ODD), Batch(batch.tokens[:, :, :1]))


def run_with(config: TransformerConfig, weights: Weights, batch: Batch) -> Trained:
    return train(config, RECIPE, weights, lambda step, rows: batch, keys=mask_keys(0, range(MEMBERS), "m"),
                 record_at=[6], record=lambda *_: {})  # fmt: skip
