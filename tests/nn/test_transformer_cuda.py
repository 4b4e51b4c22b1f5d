"""The update as a captured CUDA graph: its bookkeeping, and the whole against the eager update."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.transformer import Weights, forward
from twelvefold.nn.transformer_training import Batch, train
from twelvefold.nn.transformer_update import Stepper

from tests.nn.transformer_cases import KINDS, MEMBERS, ODD, RECIPE, Killed, Mortal, data, run, same, start


@pytest.mark.gpu
@pytest.mark.parametrize("resumed_at", [0, 3])
def test_warm_up_and_capture_leave_no_trace(resumed_at):
    """Moments and step counters are put back after the capture; losses and weights are those of eager updates."""
    keys, batches = mask_keys(10_000, range(MEMBERS), "masks").cuda(), [batch.to("cuda") for batch in data(ODD)]
    weights = {name: weight.cuda() for name, weight in start(ODD).items()}
    eager, captured = (Stepper(ODD, RECIPE, weights, keys) for _ in range(2))
    for step in range(resumed_at):
        _eager_update(eager, batches[step], step)
    if resumed_at:
        captured.load(_copied(eager.state()))
    for step in range(resumed_at, RECIPE.steps):
        losses = captured.update(batches[step], step)
        torch.testing.assert_close(losses, _eager_update(eager, batches[step], step), atol=1e-4, rtol=1e-4)
    for name, weight in eager.weights.items():
        torch.testing.assert_close(captured.weights[name], weight, atol=1e-4, rtol=1e-4, msg=name)
    for one, other in zip(captured.optimiser.state.values(), eager.optimiser.state.values(), strict=True):
        assert float(one["step"]) == float(other["step"]) == RECIPE.steps


def _eager_update(stepper: Stepper, batch: Batch, step: int) -> Tensor:
    stepper._step.fill_(step)
    return _eagerly(stepper, batch, step)


def _copied(state):
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return state.clone()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_captured_update_equals_the_eager_one(deterministic, monkeypatch, kind, precision):
    recipe = replace(RECIPE, precision=precision)
    captured = run(KINDS[kind], recipe, device="cuda")
    monkeypatch.setattr(Stepper, "_replayed", _eagerly)
    eager = run(KINDS[kind], recipe, device="cuda")
    for name, weight in eager.weights.items():
        torch.testing.assert_close(captured.weights[name], weight, atol=1e-4, rtol=1e-4, msg=name)
    torch.testing.assert_close(captured.records["loss"], eager.records["loss"], atol=1e-4, rtol=1e-4)


def _eagerly(stepper: Stepper, batch: Batch, step: int) -> Tensor:
    stepper._rate.fill_(stepper.recipe.rate(step))
    return stepper._eager(batch)


@pytest.mark.gpu
def test_cuda_and_cpu_agree(deterministic):
    recipe = replace(RECIPE, epsilon=1e-4)
    here, there = run(ODD, recipe), run(ODD, recipe, device="cuda")
    for name, weight in here.weights.items():
        torch.testing.assert_close(there.weights[name], weight, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.gpu
def test_chunks_on_cuda(deterministic):
    whole, parts = run(ODD, device="cuda"), run(ODD, device="cuda", at_once=2)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], weight, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("after", [1, 4, 7])
def test_killed_and_resumed_on_cuda_gives_the_same_bytes(deterministic, tmp_path, after):
    mortal = Mortal(tmp_path / "state.npz", every=0)
    mortal.left = after
    with pytest.raises(Killed):
        run(ODD, device="cuda", at_once=3, checkpoint=mortal)
    resumed = run(ODD, device="cuda", checkpoint=Checkpoint(tmp_path / "state.npz"))
    assert same(resumed, run(ODD, device="cuda", at_once=3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="about the memory of a real device")
def test_many_other_lengths_between_two_replays_do_no_harm(deterministic):
    config = replace(ODD, positions="rotary")

    def record(weights: Weights, _rows: slice, _step: int) -> dict[str, Tensor]:
        for length in range(1, 80):  # as an evaluation of many prefix lengths does
            forward(config, weights, torch.zeros(2, length, dtype=torch.int64, device="cuda"))
        return {}

    assert same(run(config, device="cuda"), run(config, device="cuda"))
    plain = run(config, device="cuda", record_at=[6])
    batches, keys = data(config), mask_keys(10_000, range(MEMBERS), "masks")
    busy = train(config, RECIPE, start(config), lambda step, rows: batches[step], keys=keys, device="cuda",
                 record_at=range(7), record=record)  # fmt: skip
    assert all(torch.equal(busy.weights[name], plain.weights[name]) for name in config.shapes())


@pytest.mark.gpu
def test_a_batch_of_another_shape_is_refused_on_cuda():
    stepper = Stepper(ODD, RECIPE, {k: v.cuda() for k, v in start(ODD).items()}, mask_keys(0, range(5), "m").cuda())
    batch = data(ODD)[0]
    stepper.update(batch, 0)
    for wrong in (batch._replace(counted=None), batch.each(lambda part: part[:, :1])):
        with pytest.raises(ValueError, match="same shapes"):
            stepper.update(wrong, 1)
