"""One function for every selection rule: against straightforward loops, and its invariants."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel
from twelvefold.nn import functional_population as fp
from twelvefold.papers.weight_ensembles.models import MLP
from twelvefold.papers.weight_ensembles.soup import ACCEPT_RULES, ORDER_RULES, averages, check_population, soup


def smooth(weights: torch.Tensor) -> torch.Tensor:
    """A score without ties: closeness to the point (0.3, 0.3, ...)."""
    return -((weights.double() - 0.3) ** 2).sum(1)


def population(members: int, seed: int, parameters: int = 6) -> torch.Tensor:
    return torch.randn(members, parameters, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def networks():
    """Ten MLPs around a common start, and validation images on which many candidates tie."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(0)
    model = MLP((1, 6, 6), 3).eval()
    start = fp.weights_of([model])
    weights = start + 0.08 * torch.randn(10, start.shape[1], generator=generator)
    inputs = torch.randn(60, 1, 6, 6, generator=generator)
    teacher = start + 0.05 * torch.randn(1, start.shape[1], generator=generator)
    labels = fp.predict(model, teacher, inputs)[0].argmax(-1)
    return model, weights, inputs, labels


def accuracy(model, inputs, labels) -> float:
    return float((model(inputs).argmax(-1) == labels).double().mean())


def plain_greedy(networks, strict: bool) -> list[int]:
    """Greedy selection one network at a time, averaging state dicts."""
    model, weights, inputs, labels = networks
    states = [fp.member(model, row).state_dict() for row in weights]
    scores = [accuracy(fp.member(model, row), inputs, labels) for row in weights]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    kept, best = [order[0]], scores[order[0]]
    candidate = fp.member(model, weights[0])
    for index in order[1:]:
        trial = [*kept, index]
        mean = {name: sum(states[i][name] for i in trial) / len(trial) for name in states[0]}
        candidate.load_state_dict(mean)
        score = accuracy(candidate, inputs, labels)
        if score > best or (not strict and score == best):
            kept, best = trial, score
    return kept


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_greedy_chooses_what_a_plain_loop_over_state_dicts_chooses(networks, strict, block):
    model, weights, inputs, labels = networks

    def evaluate(rows):
        return fp.correctness(model, rows, inputs, labels).double().mean(1)

    made = soup(weights, evaluate, "accuracy", "better" if strict else "not worse", block=block)
    assert made.chosen == plain_greedy(networks, strict)
    assert 1 < made.size < 10
    assert made.evaluations == 9  # every other member is looked at once


def plain_greedier(weights, replace: bool) -> list[int]:
    rows = weights.double()
    best = int(smooth(rows).argmax())
    kept, value = [best], float(smooth(rows)[best])
    while len(kept) < len(rows):
        pool = [i for i in range(len(rows)) if replace or i not in kept]
        scores = [float(smooth(rows[[*kept, i]].mean(0, keepdim=True))) for i in pool]
        if not pool or max(scores) < value:
            return kept
        value = max(scores)
        kept.append(pool[scores.index(value)])
    return kept


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_greedier_chooses_what_a_plain_search_chooses(replace, seed):
    weights = population(9, seed).double()
    assert soup(weights, smooth, "gain", replace=replace).chosen == plain_greedier(weights, replace)


@pytest.mark.parametrize("seed", range(4))
def test_ranked_adds_the_farthest_that_does_no_harm(seed):
    weights = population(8, seed).double()

    def distance(mean):
        return (weights - mean).norm(dim=1)

    made = soup(weights, smooth, "farthest", distance=distance, block=2)
    kept = [int(smooth(weights).argmax())]
    while True:
        mean = weights[kept].mean(0)
        pool = sorted((i for i in range(8) if i not in kept), key=lambda i: -float(distance(mean)[i]))
        good = [i for i in pool if smooth(weights[[*kept, i]].mean(0, keepdim=True)) >= smooth(mean[None])]
        if not good:
            break
        kept.append(good[0])
    assert made.chosen == kept


def test_average_equals_torch_averaged_model(networks):
    model, weights, inputs, labels = networks
    made = soup(
        weights, lambda rows: fp.correctness(model, rows, inputs, labels).double().mean(1), "gain", "always", size=7
    )
    running = AveragedModel(fp.member(model, weights[made.chosen[0]]))
    for index in made.chosen:
        running.update_parameters(fp.member(model, weights[index]))
    assert (fp.weights_of([running.module])[0] - made.weights).abs().max() < 1e-6
    path = averages(weights, made.chosen)
    assert torch.equal(path[-1], made.weights)
    torch.testing.assert_close(path[3], weights[made.chosen[:4]].mean(0))


def options(rule: str, weights: torch.Tensor, seed: int) -> dict:
    return {
        "distance": lambda mean: (weights - mean).norm(dim=1),
        "pairwise": torch.cdist(weights, weights),
        "generator": np.random.default_rng(seed),
    }


@given(st.integers(2, 9), st.integers(0, 10**6), st.sampled_from(ORDER_RULES), st.sampled_from(sorted(ACCEPT_RULES)))
@settings(max_examples=80, deadline=None)
def test_acceptance_never_lowers_the_value_and_forced_rules_have_their_size(members, seed, order, accept):
    weights = population(members, seed).double()
    size = max(1, members - 1)
    made = soup(weights, smooth, order, accept, size=size, **options(order, weights, seed))
    assert len(set(made.chosen)) == made.size == len(made.values) <= size
    torch.testing.assert_close(made.weights, weights[made.chosen].mean(0))
    torch.testing.assert_close(torch.tensor(made.values[-1]).double(), smooth(made.weights[None])[0])
    if accept == "always":
        assert made.size == size
    else:
        steps = np.diff(made.values)
        assert (steps > 0).all() if accept == "better" else (steps >= 0).all()


@given(st.integers(2, 9), st.integers(0, 10**6), st.sampled_from(("accuracy", "gain", "farthest", "nearest", "spread")))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_members_does_not_matter(members, seed, order):
    weights = population(members, seed).double()
    shuffle = torch.randperm(members, generator=torch.Generator().manual_seed(seed))
    here = soup(weights, smooth, order, **options(order, weights, seed))
    there = soup(weights[shuffle], smooth, order, **options(order, weights[shuffle], seed))
    assert [int(shuffle[index]) for index in there.chosen] == here.chosen
    assert abs(there.values[-1] - here.values[-1]) < 1e-9


@given(st.integers(2, 8), st.integers(0, 10**6), st.sampled_from(ORDER_RULES), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_blocks_change_the_cost_only(members, seed, order, block):
    weights = population(members, seed).double()
    one, other = (soup(weights, smooth, order, block=size, **options(order, weights, seed)) for size in (block, 256))
    assert (one.chosen, one.values, one.evaluations) == (other.chosen, other.values, other.evaluations)


def test_ties_go_to_the_lower_index():
    weights = torch.tensor([[0.0], [1.0], [1.0], [2.0]])

    def level(rows):
        return torch.zeros(len(rows))

    def distance(mean):
        return (weights - mean)[:, 0].abs()

    assert soup(weights, level, "accuracy").chosen == [0, 1, 2, 3]
    assert soup(weights, level, "gain", "better").chosen == [0]
    assert soup(weights, level, "farthest", start=0, size=3, distance=distance).chosen == [0, 3, 1]
    assert soup(weights, level, "nearest", start=0, size=3, distance=distance).chosen == [0, 1, 2]


def test_members_may_be_added_again():
    weights = torch.tensor([[0.0, 0.0], [0.9, 0.9]])
    made = soup(weights, smooth, "gain", replace=True, size=3)
    assert made.chosen == [0, 1, 0]
    assert soup(weights, smooth, "gain", "always", replace=True, size=5).size == 5


GOOD = population(4, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": torch.zeros(3)}, "matrix"),
        ({"weights": torch.zeros(0, 3)}, "empty"),
        ({"weights": torch.tensor([[1.0], [float("nan")]])}, r"\[1\] contain NaN"),
        ({"order_rule": "best"}, "order_rule is 'best'; known are"),
        ({"accept_rule": "maybe"}, "accept_rule is 'maybe'; known are"),
        ({"size": 5}, "size is 5"),
        ({"size": 0}, "size is 0"),
        ({"start": 4}, "start is 4"),
        ({"block": 0}, "block is 0"),
        ({"replace": True}, "replace=True"),
        ({"order_rule": "random"}, "generator"),
        ({"order_rule": "spread"}, "pairwise"),
        ({"order_rule": "farthest"}, "distance"),
        ({"individual": torch.zeros(3)}, "individual"),
        ({"evaluate": lambda rows: torch.zeros(1)}, "evaluate returned shape"),
        ({"evaluate": lambda rows: torch.full((len(rows),), float("nan"))}, "evaluate returned NaN"),
    ],
)
def test_bad_input_is_named(change, words):
    arguments = {"weights": GOOD, "evaluate": smooth, "order_rule": "accuracy", **change}
    with pytest.raises(ValueError, match=words):
        soup(**arguments)


def test_helpers_refuse_bad_input():
    with pytest.raises(ValueError, match="empty"):
        averages(GOOD, [])
    with pytest.raises(IndexError):
        averages(GOOD, [9])
    assert check_population(GOOD) is GOOD
