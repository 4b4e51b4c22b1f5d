"""Memory of a population: the estimate is an upper bound of what is really allocated, and chunks follow from it."""

import sys

import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.nn import population_memory as pm
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_update import Stepper

CPU = torch.device("cpu")
SHAPES = {
    "post, dropout": (TransformerConfig(90, 32, 3, 4, 128, norm="post", dropout=0.1), 8, 24),
    "pre, rotary": (TransformerConfig(30, 32, 4, 4, 128, positions="rotary", activation="gelu"), 8, 24),
    "gelu, dropout": (TransformerConfig(30, 32, 2, 4, 64, activation="gelu_tanh", dropout=0.2), 4, 24),
    "attention only": (TransformerConfig(20, 24, 2, 1, 0, positions="learned", longest=40), 8, 20),
    "long": (TransformerConfig(10, 16, 1, 8, 64, dropout=0.1), 2, 100),
    "one layer, large free head": (TransformerConfig(700, 16, 1, 2, 32, tied_head=False), 4, 12),
    "nearly all weights": (TransformerConfig(500, 64, 1, 2, 0), 1, 2),
    "wide, one token": (TransformerConfig(50, 96, 3, 2, 384, dropout=0.1), 1, 1),
}  # fmt: skip


def allocated(work) -> int:
    """The largest number of bytes that torch's allocator held at a time during `work()`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = largest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        largest = max(largest, now)
    return largest


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_estimate_is_an_upper_bound(shape, precision):
    config, batch, length = SHAPES[shape]
    weights = initial_weights(config, [torch_generator(10_000, r, "w") for r in range(2)])
    tokens = torch.randint(config.vocabulary, (2, batch, length + 1))

    def work() -> None:
        stepper = Stepper(config, Recipe(3, 1e-3, precision=precision), weights, mask_keys(0, range(2), "m"))
        for step in range(3):
            stepper.update(Batch(tokens), step)

    really, estimate = allocated(work), 2 * pm.training_bytes(config, batch, length)
    assert really <= estimate, f"{estimate / really:.2f}"
    if precision == "float32":
        assert estimate <= 3 * really, f"{estimate / really:.2f}"


def test_chunks_are_nearly_equal_and_fit(monkeypatch):
    config = SHAPES["pre, rotary"][0]
    each = pm.training_bytes(config, 8, 24)
    monkeypatch.setattr(pm, "free_bytes", lambda device: 10 * each)  # of which half is used
    assert [pm.members_at_once(config, (8, 25), members, CPU) for members in (1, 4, 5, 6, 11, 50)] == [1, 4, 5, 3, 4, 5]
    monkeypatch.setattr(pm, "_CAP", {"cpu": 2 * each})
    assert pm.members_at_once(config, (8, 25), 50, CPU) == 2
    monkeypatch.setattr(pm, "_CAP", {"cpu": each // 2})  # the cap alone never refuses
    assert pm.members_at_once(config, (8, 25), 50, CPU) == 1
    monkeypatch.setattr(pm, "free_bytes", lambda device: 2 * each - 10)
    with pytest.raises(MemoryError, match="one member needs about .* MiB to train .* on cpu"):
        pm.members_at_once(config, (8, 25), 50, CPU)


def test_free_memory_is_that_of_this_machine():
    assert 2**20 < pm.free_bytes(CPU) < 2**50


def test_bad_input():
    config = SHAPES["pre, rotary"][0]
    for members, shape in ((0, (8, 25)), (3, (0, 25)), (3, (8, 1)), (3, (8, 25, 1))):
        with pytest.raises(ValueError, match="members"):
            pm.members_at_once(config, shape, members, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_an_upper_bound_on_cuda(shape):
    config, batch, length = SHAPES[shape]
    members = max(1, 2**30 // pm.training_bytes(config, batch, length))  # much more than cuBLAS keeps for itself
    weights = initial_weights(config, [torch_generator(10_000, 0, "w")])
    weights = {name: weight.cuda().repeat(members, *[1] * (weight.ndim - 1)) for name, weight in weights.items()}
    tokens = torch.randint(config.vocabulary, (members, batch, length + 1))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    stepper = Stepper(config, Recipe(3, 1e-3), weights, mask_keys(0, range(members), "m").cuda())
    for step in range(3):
        stepper.update(Batch(tokens), step)
    torch.cuda.synchronize()
    really = torch.cuda.max_memory_allocated() - before
    assert really <= members * pm.training_bytes(config, batch, length)


def test_without_psutil_the_cap_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    config = SHAPES["post, dropout"][0]
    assert 1 < pm.members_at_once(config, (8, 25), 10_000, CPU) < 10_000
