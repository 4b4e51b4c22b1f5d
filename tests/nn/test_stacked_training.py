"""Training stacked networks: as separate torch optimisers, as alone bit for bit, and over interruptions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.stacked import draw_two_layers, stack, two_layers
from twelvefold.nn.stacked_training import Optimiser, Trained, Weights, train

from tests.nn.transformer_cases import Killed, Mortal, same

# every matrix and batch of a member has a multiple of 8 numbers, as bits need (see `stacked`); its weights are 218
P, ROWS, D_IN, HIDDEN, D_OUT, STEPS = 4, 8, 2, 16, 10, 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def falling(step: int) -> float:
    return 0.03 / (1 + step)


PLAIN = Optimiser(STEPS, falling)
OPTIMISERS = {
    "Adam": PLAIN,
    "AdamW": replace(PLAIN, weight_decay=0.3),
    "clipped": replace(PLAIN, clip=0.4),
    "all": replace(PLAIN, clip=0.4, weight_decay=0.3),
}


def start() -> Weights:
    return stack([draw_two_layers("mlp", D_IN, HIDDEN, D_OUT, torch_generator(10_000, m, "weights")) for m in range(P)])


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of all members; the targets of later members are larger, and so are their gradients."""
    generator = torch_generator(10_000, step, "batch")
    inputs = torch.randn(P, ROWS, D_IN, generator=generator)
    return inputs, torch.randn(P, ROWS, D_OUT, generator=generator) * 4.0 ** torch.arange(-2, P - 2).view(P, 1, 1)


def losses_of(chosen: slice):
    def losses(weights: Weights, step: int) -> Tensor:
        inputs, targets = (part[chosen] for part in batch(step))
        return (two_layers(weights, "mlp", inputs) - targets).square().mean((1, 2))

    return losses


def norm(weights: Weights, step: int) -> dict[str, Tensor]:
    assert not torch.is_grad_enabled()
    members = len(weights["mlp.in.bias"])
    return {"norm": weights["mlp.in.weight"].flatten(1).norm(dim=1), "step": torch.full((members, 2), step)}


def run(optimiser: Optimiser = PLAIN, chosen: slice = slice(0, P), **options) -> Trained:
    weights = {name: weight[chosen] for name, weight in start().items()}
    return train(losses_of(chosen), weights, optimiser, **({"at": (0, 5, STEPS), "record": norm} | options))


def separately(optimiser: Optimiser, member: int) -> Weights:
    """One member with torch's own optimiser and clipping."""
    own = {name: weight[member : member + 1].clone().requires_grad_() for name, weight in start().items()}
    if optimiser.weight_decay:
        torchs = torch.optim.AdamW(own.values(), lr=1.0, weight_decay=optimiser.weight_decay, foreach=False)
    else:
        torchs = torch.optim.Adam(own.values(), lr=1.0, foreach=False)
    for step in range(optimiser.steps):
        torchs.param_groups[0]["lr"] = optimiser.rate(step)
        torchs.zero_grad()
        losses_of(slice(member, member + 1))(own, step).sum().backward()
        if optimiser.clip is not None:
            torch.nn.utils.clip_grad_norm_(own.values(), optimiser.clip)
        torchs.step()
    return {name: weight.detach()[0] for name, weight in own.items()}


# --- exactness


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_population_equals_separate_optimisers(name):
    found = run(OPTIMISERS[name]).weights
    for member in range(P):
        for key, weight in separately(OPTIMISERS[name], member).items():
            torch.testing.assert_close(found[key][member], weight, atol=1e-6, rtol=1e-6)


def test_every_member_is_clipped_by_its_own_norm():
    """Adam hides a constant factor; after steps that are clipped differently it does not."""
    clipped, plain = run(OPTIMISERS["clipped"]).weights, run(PLAIN).weights
    for member in range(P):
        same_way = torch.allclose(clipped["mlp.in.weight"][member], plain["mlp.in.weight"][member], atol=1e-6)
        norms = []
        for step in range(STEPS):
            leaf = {name: weight[member : member + 1].requires_grad_() for name, weight in start().items()}
            losses = losses_of(slice(member, member + 1))(leaf, step)
            norms.append(torch.cat([g.flatten() for g in torch.autograd.grad(losses.sum(), leaf.values())]).norm())
        assert same_way == bool(torch.stack(norms).max() < 0.4), member


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_member_of_a_population_trains_as_alone_bit_for_bit(name):
    together = run(OPTIMISERS[name])
    for member in range(P):
        alone = run(OPTIMISERS[name], slice(member, member + 1))
        for key, weight in together.weights.items():
            assert torch.equal(alone.weights[key][0], weight[member]), (key, member)
        assert torch.equal(alone.records["norm"][0], together.records["norm"][member])
    assert not torch.equal(together.weights["mlp.in.weight"], start()["mlp.in.weight"])


def test_what_is_recorded():
    trained = run()
    assert trained.records["norm"].shape == (P, 3)
    assert trained.records["step"].tolist() == [[[0, 0], [5, 5], [STEPS, STEPS]]] * P
    for place, weights in ((0, start()), (2, trained.weights)):
        torch.testing.assert_close(trained.records["norm"][:, place], norm_of(weights))
    between = run(replace(PLAIN, steps=5), at=()).weights
    assert torch.equal(trained.records["norm"][:, 1], norm_of(between))
    assert run(at=()).records == {} and run(record=None).records == {}
    assert same(run(at=range(STEPS + 1)), run(at=list(range(STEPS + 1))))
    for name, weight in run(at=()).weights.items():
        assert torch.equal(weight, trained.weights[name])


def norm_of(weights: Weights) -> Tensor:
    with torch.no_grad():
        return norm(weights, 0)["norm"]


def test_no_updates_give_the_start():
    trained = run(replace(PLAIN, steps=0), at=(0,))
    assert all(torch.equal(weight, start()[name]) for name, weight in trained.weights.items())
    assert trained.records["norm"].shape == (P, 1)


def test_the_start_is_left_alone_and_the_result_has_no_graph():
    weights = {name: weight.requires_grad_() for name, weight in start().items()}
    trained = train(losses_of(slice(0, P)), weights, PLAIN)
    assert all(torch.equal(weight.detach(), start()[name]) for name, weight in weights.items())
    assert all(weight.is_contiguous() and not weight.requires_grad for weight in trained.weights.values())


def test_losses_and_rates_are_asked_for_every_update_once():
    asked: list[tuple[str, int]] = []

    def losses(weights: Weights, step: int) -> Tensor:
        asked.append(("loss", step))
        return losses_of(slice(0, P))(weights, step)

    def rate(step: int) -> float:
        asked.append(("rate", step))
        return 0.01

    train(losses, start(), Optimiser(3, rate))
    assert asked == [(what, step) for step in range(3) for what in ("loss", "rate")]


def test_it_learns():
    def losses(weights: Weights, step: int) -> Tensor:
        inputs = batch(0)[0]
        return (two_layers(weights, "mlp", inputs) - inputs.sin().repeat(1, 1, 5)).square().mean((1, 2))

    trained = train(losses, start(), Optimiser(300, lambda step: 0.02))
    assert bool((losses(trained.weights, 0) < 0.02 * losses(start(), 0)).all())


# --- interruptions


@pytest.mark.parametrize("after", [1, 4, 5, 6, STEPS])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, after):
    mortal = Mortal(tmp_path / "state.npz", every=0)
    mortal.left = after
    with pytest.raises(Killed):
        run(OPTIMISERS["all"], checkpoint=mortal)
    asked: list[int] = []

    def losses(weights: Weights, step: int) -> Tensor:
        asked.append(step)
        return losses_of(slice(0, P))(weights, step)

    resumed = train(losses, start(), OPTIMISERS["all"], at=(0, 5, STEPS), record=norm,
                    checkpoint=Checkpoint(tmp_path / "state.npz"))  # fmt: skip
    assert same(resumed, run(OPTIMISERS["all"]))
    assert asked == list(range(after, STEPS))  # nothing is computed twice


def test_a_damaged_checkpoint_starts_anew(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"no archive")
    with pytest.warns(Warning, match="damaged"):
        resumed = run(checkpoint=Checkpoint(tmp_path / "state.npz"))
    assert same(resumed, run())


# --- bad input


@pytest.mark.parametrize("bad", [[2], [0, 3]])
def test_members_that_diverge_are_named(bad):
    def losses(weights: Weights, step: int) -> Tensor:
        factor = torch.ones(P)
        factor[bad] = math.nan if step == 2 else 1.0
        return losses_of(slice(0, P))(weights, step) * factor

    with pytest.raises(FloatingPointError, match=re.escape(f"members {bad} are not finite")):
        train(losses, start(), PLAIN)


@pytest.mark.parametrize(
    "change", [{"steps": -1}, {"weight_decay": -0.1}, {"clip": 0.0}, {"clip": -1.0}, {"clip": math.nan}]
)
def test_impossible_optimisers(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PLAIN, **change)


@pytest.mark.parametrize("at", [[3, 1], [1, 1], [-1, 2], [0, STEPS + 1]])
def test_impossible_times(at):
    with pytest.raises(ValueError, match=re.escape(f"at = {at}")):
        run(at=at)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"weights are of \[\] members"):
        train(losses_of(slice(0, P)), {}, PLAIN)
    with pytest.raises(ValueError, match=r"weights are of \[3, 4\] members"):
        train(losses_of(slice(0, P)), {**start(), "mlp.in.bias": torch.zeros(3, HIDDEN)}, PLAIN)
    with pytest.raises(ValueError, match=r"losses has shape \(\)"):
        train(lambda weights, step: losses_of(slice(0, P))(weights, step).mean(), start(), PLAIN)
    with pytest.raises(ValueError, match=r"losses has shape \(4, 8\)"):
        train(lambda weights, step: two_layers(weights, "mlp", batch(step)[0]).sum(2), start(), PLAIN)
