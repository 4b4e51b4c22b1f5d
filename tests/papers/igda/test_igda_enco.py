"""ENCO-lite: gradients against enumeration of all graphs, networks against plain loops, recovery of small graphs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda import enco
from twelvefold.papers.igda.enco import EncoConfig, EncoExpert, EncoFit, clamp, fit, fit_graphs, gradients, next_targets
from twelvefold.papers.igda.enco_models import (
    Architecture,
    adam,
    checked_data,
    draw_keys,
    draw_networks,
    losses_of_graphs,
    losses_of_rows,
    no_moments,
    rows_of,
    uniforms,
)
from twelvefold.papers.igda.feedback import Feedback, add_answers, no_feedback, pairs
from twelvefold.papers.igda.loop import Policy, discover

CHAIN, FORK, COLLIDER = [(0, 1), (1, 2)], [(0, 1), (0, 2)], [(0, 2), (1, 2)]
NOTHING: list[tuple[int, int]] = []
TINY = EncoConfig(hidden=(8,), rounds=2, model_steps=3, graph_steps=6, update_steps=4, batch=16, graphs=8)
SMALL = replace(enco.QUICK, rounds=4, gamma_rate=0.05, sparsity=0.02)  # few steps, so larger ones
SMALL_STEPS = replace(TINY, rounds=3, model_steps=10, graph_steps=12)


def edges_of(*lists: list[tuple[int, int]], n: int = 3) -> Tensor:
    matrix = torch.zeros(len(lists), n, n, dtype=torch.bool)
    for draw, edges in enumerate(lists):
        for i, j in edges:
            matrix[draw, i, j] = True
    return matrix


def rows_from(edges: Tensor, count: int, seed: int, at: int | None = None, strength: float = 1.5) -> Tensor:
    """Binary rows `[P, count, n]` of graphs `[P, n, n]` in the order of the variables: logits are sums over parents,
    all with the same strength; variable `at` is a fair coin."""
    draws, n, _ = edges.shape
    numbers = torch.rand(draws, count, n, generator=torch_generator(seed, 0 if at is None else at + 1, "rows"))
    rows = torch.zeros(draws, count, n)
    for j in range(n):
        logits = strength * ((2 * rows - 1) @ edges[:, :, j, None].float())[..., 0]
        rows[..., j] = (numbers[..., j] < (torch.full_like(logits, 0.5) if j == at else logits.sigmoid())).float()
    return rows.long()


def data_from(edges: Tensor, seed: int = 10_000, observed: int = 500, each: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    n = edges.shape[1]
    interventions = torch.stack([rows_from(edges, each, seed, k) for k in range(n)], 1)
    return rows_from(edges, observed, seed), interventions, torch.full((n,), 2)


def fitted(edges: Tensor, config: EncoConfig = TINY, seed: int = 10_000, **options: Any) -> EncoFit:
    return fit(*data_from(edges), config, torch_generator(seed, 0, "enco"), **options)


@pytest.fixture(scope="module")
def recovered() -> tuple[Tensor, EncoFit]:
    edges = edges_of(CHAIN, FORK, COLLIDER, NOTHING).repeat(3, 1, 1)
    rows = data_from(edges, observed=2_000, each=200)
    return edges, fit(*rows, SMALL, torch_generator(10_000, 0, "enco"))


class TestGradients:
    """n = 3, all 64 graphs; probabilities are multiples of 1/4, so that 4096 graphs hold each as often as it should."""

    graphs = torch.tensor(list(itertools.product([0, 1], repeat=6)), dtype=torch.bool)
    gamma = torch.full((3, 3), 3.0).double().log()  # sigmoid 3/4
    theta = torch.tensor([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]).double() * torch.tensor(2.0).double().log()  # 1/3, 2/3

    def matrices(self, graphs: Tensor) -> Tensor:
        """`[G, 6]` as `[G, 3, 3]`, row by row without the diagonal."""
        found = torch.zeros(len(graphs), 3, 3, dtype=torch.bool)
        found[:, pairs(3)] = graphs
        return found

    def table(self) -> Tensor:
        """Loss of each variable given each set of parents, in the order of the 64 graphs `[64, 3]`."""
        values = torch.rand(3, 2, 2, 2, generator=torch_generator(10_000, 0, "losses")).double()
        graphs = self.matrices(self.graphs).long()
        return torch.stack([values[j][tuple(graphs[:, :, j].T)] for j in range(3)], 1)

    def exact(self, target: int, sparsity: float) -> tuple[Tensor, Tensor]:
        """Automatic derivative of the expected loss over all graphs; theta of i -> j and of j -> i are one number."""
        gamma, upper = self.gamma.clone().requires_grad_(), self.theta.triu(1).clone().requires_grad_()
        edge = gamma.sigmoid() * (upper.triu(1) - upper.triu(1).T).sigmoid()
        graphs = self.matrices(self.graphs)
        weight = torch.where(graphs, edge, 1 - edge)[:, pairs(3)].prod(1)  # [64]
        judged = [j for j in range(3) if j != target]
        loss = (weight[:, None] * self.table()[:, judged]).sum()
        penalty = sparsity * edge[:, judged][pairs(3)[:, judged]].sum()
        (of_gamma,) = torch.autograd.grad(loss + penalty, gamma, retain_graph=True)
        (of_upper,) = torch.autograd.grad(loss, upper)
        here = (torch.arange(3) == target)[:, None] | (torch.arange(3) == target)
        return of_gamma * pairs(3), (of_upper - of_upper.T) * here

    @pytest.mark.parametrize("target", [0, 1, 2, 3])
    @pytest.mark.parametrize("sparsity", [0.0, 0.05])
    def test_all_graphs_give_the_exact_gradients(self, target: int, sparsity: float) -> None:
        quarters = ((self.gamma.sigmoid() * self.theta.sigmoid())[pairs(3)] * 4).round().long()
        parts = torch.cartesian_prod(*[torch.arange(4)] * 6) < quarters
        which = (parts.long() * 2 ** torch.arange(5, -1, -1)).sum(1)
        assert torch.equal(self.graphs[which], parts)
        found = gradients(self.table()[which][None], self.matrices(parts)[None], self.gamma[None], self.theta[None],
                          torch.tensor([target]), sparsity)  # fmt: skip
        for mine, exact in zip(found, self.exact(target, sparsity), strict=True):
            torch.testing.assert_close(mine[0], exact, rtol=0, atol=1e-12)

    def test_drawn_graphs_give_them_on_average(self) -> None:
        repeats, count = 2_000, 60
        edge = self.gamma.sigmoid() * self.theta.sigmoid()
        drawn = torch.rand(repeats, count, 6, generator=torch_generator(10_000, 1, "graphs")) < edge[pairs(3)]
        losses = self.table()[(drawn.long() * 2 ** torch.arange(5, -1, -1)).sum(2)]
        graphs = self.matrices(drawn.flatten(0, 1)).view(repeats, count, 3, 3)
        gamma, theta = (x.expand(repeats, -1, -1) for x in (self.gamma, self.theta))
        found = gradients(losses, graphs, gamma, theta, torch.full((repeats,), 1), 0.05)
        for mine, exact in zip(found, self.exact(1, 0.05), strict=True):
            error = mine.std(0) / repeats**0.5
            assert bool(((mine.mean(0) - exact).abs() <= 5 * error + 1e-15).all())

    def test_an_edge_that_all_graphs_have_gets_none(self) -> None:
        graphs = self.matrices(self.graphs[self.graphs[:, 0]])[None]  # all with 0 -> 1
        losses = self.table()[self.graphs[:, 0]][None]
        found = gradients(losses, graphs, self.gamma[None], self.theta[None], torch.tensor([0]), 0.05)
        assert found[0][0, 0, 1] == 0 and found[1][0, 0, 1] == 0 and found[0][0, 0, 2] != 0


class TestNetworks:
    sizes = Architecture(2, (2, 3, 4), (5, 6))

    def cases(self) -> tuple[Any, Tensor, Tensor]:
        generator = torch_generator(10_000, 0, "networks")
        networks = draw_networks(self.sizes, draw_keys(generator, 2), 0)
        networks = networks._replace(flat=networks.flat + 0.1 * torch.randn(networks.flat.shape, generator=generator))
        rows = torch.stack([torch.randint(0, c, (2, 7), generator=generator) for c in (2, 3, 4)], 2)
        graphs = torch.rand(2, 9, 3, 3, generator=generator) < 0.5
        return networks, rows, graphs & pairs(3)

    def plain(self, networks: Any, draw: int, row: list[int], graph: Tensor, j: int) -> Tensor:
        """Log-probabilities of variable j, one unit at a time."""
        weights, place = {name: value.double() for name, value in networks.weights.items()}, draw * 3 + j
        values = weights["0.bias"][place].clone()
        for i in range(3):
            if graph[i, j]:
                values += weights["0.weight"][place, i * 4 + row[i]]
        for layer in ("1", "2"):
            values = torch.where(values > 0, values, 0.1 * values)
            values = values @ weights[f"{layer}.weight"][place] + weights[f"{layer}.bias"][place]
        return (values[: (2, 3, 4)[j]]).log_softmax(0)

    def test_against_one_row_and_graph_at_a_time(self) -> None:
        networks, rows, graphs = self.cases()
        found = losses_of_graphs(networks, rows, graphs.float())
        for draw, graph, j in itertools.product(range(2), range(9), range(3)):
            losses = [-self.plain(networks, draw, row, graphs[draw, graph], j)[row[j]] for row in rows[draw].tolist()]
            torch.testing.assert_close(found[draw, graph, j].double(), torch.stack(losses).mean(), rtol=0, atol=1e-5)
            masks = graphs[:, graph, None].expand(-1, 7, -1, -1).float()
            torch.testing.assert_close(losses_of_rows(networks, rows, masks)[draw, j].double(), torch.stack(losses),
                                       rtol=0, atol=1e-5)  # fmt: skip

    def test_cut_into_networks_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        networks, rows, graphs = self.cases()
        whole = losses_of_graphs(networks, rows, graphs.float())
        monkeypatch.setattr("twelvefold.papers.igda.enco_models.EVALUATION_BYTES", {"cpu": 1})
        torch.testing.assert_close(losses_of_graphs(networks, rows, graphs.float()), whole, rtol=0, atol=1e-6)

    def test_training_finds_the_conditional_distribution(self) -> None:
        observations, interventions, categories = data_from(edges_of(CHAIN), observed=4_000, each=0)
        known = edges_of(CHAIN).double()
        config = replace(TINY, rounds=1, model_steps=300, batch=64, model_rate=0.02, graph_steps=1)
        state = fit(observations, interventions, categories, config, torch_generator(10_000, 0, "enco"), known)
        every = torch.tensor([[[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]])
        found = (-losses_of_rows(state.models, every, known[:, None].expand(-1, 4, -1, -1).float())[0, 2]).exp()
        assert found[0] == found[1] and found[2] == found[3]  # variable 0 is masked
        share = [observations[0, observations[0, :, 1] == x, 2].double().mean() for x in (0, 1)]
        assert abs(found[0] - share[0]) < 0.04 and abs(found[2] - share[1]) < 0.04


class TestDraws:
    def test_uniform_and_unrelated(self) -> None:
        keys = draw_keys(torch_generator(10_000, 0, "keys"), 4)
        made = [uniforms(keys, stream, step, 50_001) for stream, step in ((0, 0), (0, 1), (1, 0))]
        for found in made:
            assert 0 <= float(found.min()) and float(found.max()) < 1
            assert float((found.mean(1) - 0.5).abs().max()) < 5 * (1 / 12 / 50_001) ** 0.5
            assert float((torch.histc(found, 20, 0, 1) / found.numel() - 0.05).abs().max()) < 0.0025
        together = torch.cat([*made, made[0].roll(1, 1)])
        assert float((torch.corrcoef(together) - torch.eye(16)).abs().max()) < 5 / 50_001**0.5

    def test_a_key_gives_the_same_alone(self) -> None:
        keys = draw_keys(torch_generator(10_000, 0, "keys"), 4)
        assert torch.equal(uniforms(keys, 2, torch.tensor([0, 1, 2, 3]), 9)[2], uniforms(keys[2:3], 2, 2, 9)[0])

    def test_only_rows_that_are_there_are_drawn(self) -> None:
        observations, interventions = torch.zeros(1, 4, 3).long(), torch.ones(1, 3, 5, 3).long()
        interventions[0, 1, 2:] = 0
        data = checked_data(observations, interventions, [2, 2, 2], torch.tensor([[5, 2, 0]]))
        numbers = torch.linspace(0, 1 - 2**-24, 50)[None]
        assert bool(rows_of(data, torch.tensor([1]), numbers).all())
        assert not bool(rows_of(data, torch.tensor([3]), numbers).any())

    def test_targets_take_turns(self) -> None:
        keys = draw_keys(torch_generator(10_000, 0, "keys"), 3)
        counts = torch.tensor([[5, 5, 5, 9], [0, 5, 0, 9], [0, 0, 0, 9]])
        found = torch.stack([next_targets(keys, counts.clone(), step) for step in range(60)], 1)
        assert found[0].view(20, 3).sort(1).values.tolist() == [[0, 1, 2]] * 20
        assert found[1].view(30, 2).sort(1).values.tolist() == [[1, 3]] * 30
        assert found[2].tolist() == [3] * 60
        assert len({tuple(turn) for turn in found[0].view(20, 3).tolist()}) > 3  # in changing order


def test_adam_is_that_of_torch_and_leaves_the_others() -> None:
    generator = torch_generator(10_000, 0, "adam")
    start = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.03, betas=(0.9, 0.95))
    moved = torch.arange(4)[:, None] < 2  # two rows
    mine, moments = start, no_moments(start, start)
    for step in range(20):
        slope = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        theirs.grad = slope
        optimiser.step()
        mine, moments = adam(mine, slope, moments, moved if step % 2 else torch.ones_like(moved), 0.03, (0.9, 0.95))
    torch.testing.assert_close(mine[:2], theirs.detach()[:2], rtol=0, atol=1e-12)
    assert moments.steps[:, 0].tolist() == [20, 20, 10, 10] and not torch.equal(mine[2:], theirs.detach()[2:])
    again, kept = adam(mine, slope, moments, torch.zeros_like(moved), 0.03, (0.9, 0.95))
    assert torch.equal(again, mine) and all(torch.equal(a, b) for a, b in zip(kept, moments, strict=True))


class TestRecovery:
    def test_with_interventions_on_all_variables_all_edges_are_right(self, recovered: tuple[Tensor, EncoFit]) -> None:
        edges, state = recovered
        assert torch.equal(state.probabilities > 0.5, edges)
        assert state.steps == (SMALL.rounds * SMALL.model_steps, SMALL.rounds * SMALL.graph_steps)

    def test_probabilities_are_those_of_the_parameters(self, recovered: tuple[Tensor, EncoFit]) -> None:
        _, state = recovered
        expected = state.gamma.sigmoid() * state.theta.sigmoid() * pairs(3)
        assert torch.equal(state.probabilities, expected) and state.probabilities.dtype == torch.float64
        assert torch.equal(state.theta, -state.theta.transpose(1, 2))

    def test_without_interventions_no_direction_is_found(self) -> None:
        observations, interventions, categories = data_from(edges_of(CHAIN, NOTHING), each=0)
        state = fit(observations, interventions, categories, replace(SMALL, rounds=2), torch_generator(1, 0, "enco"))
        assert not bool(state.theta.any())  # undecided, exactly
        joined = state.gamma.sigmoid()
        assert float(joined[0, 0, 1]) > 0.7 and float(joined[0, 2, 1]) > 0.7 and float(joined[1].max()) < 0.6
        assert not bool((state.probabilities > 0.5).any())

    def test_an_intervention_decides_only_what_it_touches(self) -> None:
        observations, interventions, categories = data_from(edges_of(CHAIN))
        counts = torch.tensor([[100, 0, 0]])
        state = fit(observations, interventions, categories, replace(SMALL, rounds=2), torch_generator(1, 0, "enco"),
                    counts=counts)  # fmt: skip
        assert float(state.theta[0, 0, 1]) > 1 and float(state.theta[0, 1, 2]) == 0
        assert float(state.gamma[0, 1, 2]) > 0.5 and float(state.gamma[0, 1, 0]) != 0  # the latter by observed rows


class TestClamping:
    def test_known_answers_stay_and_the_rest_moves(self) -> None:
        known = torch.full((1, 3, 3), torch.nan)
        known[0, 1, 0], known[0, 1, 2] = 1, 0  # both wrong
        state = fitted(edges_of(CHAIN), clamped=known)
        found = state.probabilities[0]
        assert float(found[1, 0]) > 1 - 1e-9 and float(found[1, 2]) < 1e-9 and float(found[0, 1]) < 1e-9
        assert 0.01 < float(found[0, 2]) < 0.99 and float(state.gamma[0, 0, 2]) != 0
        assert float(state.theta[0, 1, 2]) != 0  # which way is open where no edge is there in one direction

    def test_answers_add_up(self) -> None:
        state, one, other = fitted(edges_of(CHAIN)), *torch.full((2, 1, 3, 3), torch.nan)
        one[0, 0, 1], other[0, 2, 1] = 1, 0
        both = clamp(clamp(state, one), other)
        assert float(both.clamped[0, 0, 1]) == 1 and float(both.clamped[0, 2, 1]) == 0
        moved = fit_graphs(both, 5)
        assert moved.gamma[0, 0, 1] == moved.theta[0, 0, 1] == enco.CERTAIN and moved.gamma[0, 2, 1] == -enco.CERTAIN
        assert not torch.equal(moved.gamma, both.gamma)


class TestReproduction:
    def test_a_draw_is_fitted_as_it_would_be_alone(self) -> None:
        edges = edges_of(CHAIN, FORK, COLLIDER)
        rows = data_from(edges)
        together = fit(*rows, SMALL_STEPS, torch_generator(10_000, 0, "enco"))
        for draw in range(3):
            generator = torch_generator(10_000, 0, "enco")
            draw_keys(generator, draw)  # what the earlier draws took
            one = slice(draw, draw + 1)
            alone = fit(rows[0][one], rows[1][one], rows[2], SMALL_STEPS, generator)
            assert torch.equal(alone.keys, together.keys[one])
            torch.testing.assert_close(alone.gamma, together.gamma[one], rtol=0, atol=1e-4)
            torch.testing.assert_close(alone.theta, together.theta[one], rtol=0, atol=1e-4)

    def test_the_same_seed_gives_the_same_bytes(self) -> None:
        first, second, other = (fitted(edges_of(FORK, CHAIN), seed=seed) for seed in (10_000, 10_000, 10_001))
        assert torch.equal(first.gamma, second.gamma) and torch.equal(first.models.flat, second.models.flat)
        assert not torch.equal(first.gamma, other.gamma)

    def test_a_fit_goes_on_where_it_stopped(self) -> None:
        state = fitted(edges_of(FORK))
        assert torch.equal(fit_graphs(fit_graphs(state, 3), 4).gamma, fit_graphs(state, 7).gamma)


class TestExpert:
    def test_in_the_loop(self) -> None:
        edges = edges_of(CHAIN)[0]
        state = fitted(edges_of(CHAIN, CHAIN))
        policy, ties = Policy("uncertainty", "global"), torch_generator(10_000, 0, "ties")
        made = discover(EncoExpert(state), edges, policy, replicates=2, rounds=3, experiments=2, generator=ties)
        assert made.f1[:, -1].tolist() == [1, 1] and made.tests.tolist() == [0, 2, 4, 6]

    def answered(self, state: EncoFit) -> Feedback:
        selected = torch.zeros(len(state.gamma), 3, 3, dtype=torch.bool)
        selected[:, 0, 1] = True
        return add_answers(no_feedback(len(state.gamma), 3), selected, edges_of(CHAIN)[0])

    def test_an_answer_is_kept_and_moves_the_others(self) -> None:
        state = fitted(edges_of(CHAIN))
        expert, every = EncoExpert(state), pairs(3)[None]
        assert torch.equal(expert.beliefs(every, no_feedback(1, 3)), state.probabilities)
        told = expert.beliefs(every, self.answered(state))
        assert float(told[0, 0, 1]) > 1 - 1e-9 and float(told[0, 1, 2]) != float(state.probabilities[0, 1, 2])
        assert expert.state.steps[1] == state.steps[1] + TINY.update_steps
        assert torch.equal(expert.beliefs(every, self.answered(state)), told)  # nothing new: nothing moves

    def test_urgency_is_the_mean_gradient_of_what_is_open(self) -> None:
        state = fitted(edges_of(CHAIN))
        found = EncoExpert(state).urgency(state.probabilities, self.answered(state), 1)
        assert float(found[0, 0, 1]) == 0 and not bool(found[0].diagonal().any())
        slopes = [enco.slopes_at(state, torch.tensor([k]), enco.JUDGED, state.steps[1] * 4 + k) for k in range(3)]
        mean = [torch.stack([pair[part] for pair in slopes]).mean(0) for part in (0, 1)]
        expected = (mean[0].abs() + mean[1].abs()).masked_fill(edges_of([(0, 1)]), 0)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)

    def test_urgency_without_interventions_comes_from_observed_rows(self) -> None:
        observations, interventions, categories = data_from(edges_of(CHAIN), each=0)
        state = fit(observations, interventions, categories, TINY, torch_generator(1, 0, "enco"))
        found = EncoExpert(state).urgency(state.probabilities, no_feedback(1, 3), 1)
        assert bool(found.isfinite().all()) and float(found.max()) > 0


ROWS = data_from(edges_of(CHAIN), observed=20, each=5)


def changed(what: str) -> tuple[tuple[Tensor, Tensor, Any], dict[str, Tensor]]:
    observations, interventions, categories = (x.clone() for x in ROWS)
    unknown = torch.full((1, 3, 3), torch.nan)
    wrong: dict[str, Any] = {
        "two axes": ((observations[0], interventions, categories), {}),
        "no draw": ((observations[:0], interventions[:0], categories), {}),
        "no row": ((observations[:, :0], interventions, categories), {}),
        "one variable": ((observations[..., :1], interventions[:, :1, :, :1], categories[:1]), {}),
        "unequal variables": ((observations, interventions[:, :2], categories), {}),
        "floats": ((observations.float(), interventions, categories), {}),
        "nan": ((observations * torch.nan, interventions, categories), {}),
        "float interventions": ((observations, interventions.float(), categories), {}),
        "too large": ((observations + 1, interventions, categories), {}),
        "negative": ((observations, interventions - 1, categories), {}),
        "few categories": ((observations, interventions, categories[:2]), {}),
        "one category": ((observations, interventions, categories - 1), {}),
        "clamped shape": ((observations, interventions, categories), {"clamped": unknown[:, :2]}),
        "clamped half": ((observations, interventions, categories), {"clamped": torch.full((1, 3, 3), 0.5)}),
        "both ways": ((observations, interventions, categories), {"clamped": pairs(3)[None].double()}),
        "loop": ((observations, interventions, categories), {"clamped": torch.eye(3)[None]}),
        "counts": ((observations, interventions, categories), {"counts": torch.full((1, 3), 6)}),
        "counts shape": ((observations, interventions, categories), {"counts": torch.full((1, 2), 1)}),
    }
    return wrong[what]


@pytest.mark.parametrize(("what", "names"), [
    ("two axes", "observations"), ("no draw", "observations"), ("no row", "observations"), ("nan", "int64"),
    ("one variable", "two variables"), ("unequal variables", "interventions"), ("floats", "int64"),
    ("float interventions", "interventions"), ("too large", "observations holds"), ("negative", "interventions holds"),
    ("few categories", "categories"), ("one category", "categories"), ("clamped shape", "clamped"),
    ("clamped half", "clamped"), ("both ways", "j -> i"), ("loop", "i -> i"), ("counts", "counts"),
    ("counts shape", "counts"),
])  # fmt: skip
def test_bad_input(what: str, names: str) -> None:
    given, options = changed(what)
    with pytest.raises(ValueError, match=names):
        fit(*given, TINY, torch_generator(1, 0, "enco"), **options)


@pytest.mark.parametrize("wrong", [
    {"hidden": ()}, {"hidden": (0,)}, {"rounds": 0}, {"batch": 0}, {"graphs": 1}, {"gamma_rate": 0.0},
    {"model_rate": float("nan")}, {"sparsity": -1.0}, {"update_steps": 0},
])  # fmt: skip
def test_bad_config(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EncoConfig(**wrong)
