"""Choosing interventions by imagined gradients: graphs, imagined rows, scores and the loop around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.enco import EncoConfig, EncoFit, clamp, fit
from twelvefold.papers.igda.enco_models import draw_keys, logits_of_rows
from twelvefold.papers.igda.enco_targets import (
    Imagination,
    acquire,
    add_rows,
    choose_target,
    draw_acyclic,
    imagine,
    target_scores,
)

TINY = EncoConfig(hidden=(8,), rounds=1, model_steps=30, graph_steps=2, update_steps=4, batch=32, graphs=30,
                  model_rate=0.05)  # fmt: skip
CATEGORIES = (2, 3, 2)
CHAIN = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]).double()


def rows_of_chain(draws: int, count: int, seed: int, at: Tensor | None = None) -> Tensor:
    """Rows `[P, count, 3]` of 0 -> 1 -> 2, in which a variable follows its cause with probability .9; the variables
    `at [P]` are uniform."""
    generator = torch_generator(seed, 0, "rows")
    rows, follows = torch.zeros(draws, count, 3).long(), torch.rand(draws, count, 3, generator=generator) < 0.9
    for j, size in enumerate(CATEGORIES):
        free = torch.randint(0, size, (draws, count), generator=generator)
        cause = rows[..., j - 1].clamp(max=size - 1)
        taken = torch.where(follows[..., j], cause, free) if j else free
        rows[..., j] = taken if at is None else torch.where((at == j)[:, None], free, taken)
    return rows


def started(draws: int = 1, config: EncoConfig = TINY, clamped: Tensor | None = None, seed: int = 10_000) -> EncoFit:
    """A fit on observed rows alone."""
    nothing = torch.zeros(draws, 3, 0, 3).long()
    known = None if clamped is None else clamped.expand(draws, -1, -1)
    return fit(rows_of_chain(draws, 400, seed), nothing, CATEGORIES, config, torch_generator(seed, 0, "enco"), known)


def only_open(i: int, j: int) -> Tensor:
    """Answers that leave nothing but the pair {i, j} open, and say that no other edge is there."""
    known = torch.zeros(3, 3).double()
    known[i, j] = known[j, i] = torch.nan
    return known


class TestGraphs:
    def test_there_is_no_cycle_and_the_order_fits(self) -> None:
        graphs, place = draw_acyclic(started(2), 50, 0)
        assert place.sort(-1).values.tolist() == [[[0, 1, 2]] * 50] * 2
        for draw in range(2):
            for graph, order in zip(graphs[draw], place[draw], strict=True):
                made = networkx.from_numpy_array(graph.numpy(), create_using=networkx.DiGraph)
                assert networkx.is_directed_acyclic_graph(made)
                assert all(order[i] < order[j] for i, j in made.edges)
        assert 20 < int(graphs.sum()) < 200

    def test_what_is_known_is_kept(self) -> None:
        graphs, place = draw_acyclic(started(clamped=CHAIN), 200, 0)
        assert bool((graphs == CHAIN.bool()).all()) and bool((place == torch.arange(3)).all())

    def test_of_two_variables_edges_are_as_likely_as_believed(self) -> None:
        state = started(clamped=only_open(0, 1))
        gamma, theta = state.gamma.clone(), torch.zeros_like(state.theta)
        gamma[0, 0, 1], gamma[0, 1, 0], theta[0, 0, 1], theta[0, 1, 0] = 0.4, -0.8, 0.7, -0.7
        theta[0, 0, 2] = theta[0, 1, 2] = 30.0  # variable 2 comes last
        theta[0, 2, 0] = theta[0, 2, 1] = -30.0
        graphs, _ = draw_acyclic(state._replace(gamma=gamma, theta=theta), 20_000, 3)
        for i, j in ((0, 1), (1, 0)):
            expected = float(gamma[0, i, j].sigmoid() * theta[0, i, j].sigmoid())
            error = (expected * (1 - expected) / 20_000) ** 0.5
            assert abs(float(graphs[0, :, i, j].double().mean()) - expected) < 5 * error


def joint(state: EncoFit, target: int) -> Tensor:
    """Probability `[2, 3, 2]` of every row of the chain when the target is set at random, from the networks."""
    cells = torch.cartesian_prod(*[torch.arange(c) for c in CATEGORIES])[None]
    masks = CHAIN.float()[None, None].expand(1, cells.shape[1], -1, -1)
    shares = logits_of_rows(state.models, cells, masks).softmax(-1)[0].double()
    product = torch.ones(cells.shape[1], dtype=torch.float64)
    for j, size in enumerate(CATEGORIES):
        own = shares[j].gather(1, cells[0, :, j, None])[:, 0]
        product = product * (torch.full_like(own, 1 / size) if j == target else own)
    return product.view(CATEGORIES)


class TestImaginedRows:
    def test_they_have_the_distribution_that_the_networks_say(self) -> None:
        state, count = started(clamped=CHAIN), 30_000
        made = imagine(state, *draw_acyclic(state, 2, 0), count // 2, 1).flatten(2, 3)[0].detach()  # [k, R, n]
        for k in range(3):
            found = torch.zeros(CATEGORIES, dtype=torch.float64)
            found.index_put_(tuple(made[k].T), torch.tensor(1 / count, dtype=torch.float64), accumulate=True)
            expected = joint(state, k).detach()
            assert abs(float(expected.sum()) - 1) < 1e-6
            error = (expected * (1 - expected) / count).sqrt()
            assert bool(((found - expected).abs() <= 5 * error).all()), k

    def test_shape_and_range(self) -> None:
        state = started(2)
        made = imagine(state, *draw_acyclic(state, 4, 0), 5, 0)
        assert made.shape == (2, 3, 4, 5, 3) and made.dtype == torch.int64
        assert bool((made >= 0).all()) and bool((made < torch.tensor(CATEGORIES)).all())


class TestScores:
    def test_nothing_open_nothing_to_gain(self) -> None:
        assert target_scores(started(clamped=CHAIN), Imagination(), 0).tolist() == [[0.0] * 3]

    @pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
    def test_the_variables_of_the_only_open_pair_gain_most(self, pair: tuple[int, int]) -> None:
        state = started(4, clamped=only_open(*pair))
        scores = target_scores(state, Imagination(graphs=12), 0)
        (other,) = {0, 1, 2} - {*pair}
        assert bool((scores[:, list(pair)] > 0).all())
        assert bool((scores[:, list(pair)].amax(1) > scores[:, other]).all())
        assert set(choose_target(state, "gradient", Imagination(graphs=12), 0).tolist()) <= {*pair}

    def test_a_draw_has_the_scores_it_has_alone(self) -> None:
        whole = started(3)
        generator = torch_generator(10_000, 0, "enco")
        draw_keys(generator, 2)
        nothing = torch.zeros(1, 3, 0, 3).long()
        alone = fit(whole.data.observations[2:], nothing, CATEGORIES, TINY, generator)
        torch.testing.assert_close(target_scores(alone, Imagination(), 4)[0], target_scores(whole, Imagination(), 4)[2],
                                   rtol=1e-3, atol=1e-6)  # fmt: skip

    def test_random_targets_are_uniform(self) -> None:
        state = started(2)
        chosen = torch.stack([choose_target(state, "random", Imagination(), step) for step in range(900)])
        share = torch.bincount(chosen.flatten(), minlength=3) / 1800
        assert float((share - 1 / 3).abs().max()) < 5 * (2 / 9 / 1800) ** 0.5

    def test_equal_scores_are_drawn_among(self) -> None:
        state = started(clamped=CHAIN)  # all scores 0
        found = {int(choose_target(state, "gradient", Imagination(1, 1), step)) for step in range(30)}
        assert found == {0, 1, 2}


class TestRows:
    def test_they_are_added_where_they_belong(self) -> None:
        data = started(2).data
        first, second = rows_of_chain(2, 4, 1), rows_of_chain(2, 3, 2)
        data = add_rows(data, torch.tensor([0, 2]), first)
        data = add_rows(data, torch.tensor([0, 1]), second)
        assert data.counts.tolist() == [[7, 0, 0, 400], [0, 3, 4, 400]] and data.capacity == 7
        stored = data.rows[:, : 3 * 7].view(2, 3, 7, 3)
        assert torch.equal(stored[0, 0], torch.cat([first[0], second[0]]))
        assert torch.equal(stored[1, 2, :4], first[1]) and torch.equal(stored[1, 1, :3], second[1])
        assert torch.equal(data.observations, started(2).data.observations)

    @pytest.mark.parametrize(("target", "rows", "names"), [
        ([3], torch.zeros(1, 2, 3).long(), "target"), ([-1], torch.zeros(1, 2, 3).long(), "target"),
        ([0, 1], torch.zeros(1, 2, 3).long(), "target"), ([0], torch.zeros(2, 2, 3).long(), "rows"),
        ([0], torch.zeros(1, 0, 3).long(), "rows"), ([0], torch.zeros(1, 2, 2).long(), "rows"),
        ([0], torch.zeros(1, 2, 3), "rows"), ([0], torch.full((1, 2, 3), 2), "category"),
    ])  # fmt: skip
    def test_bad_rows(self, target: list[int], rows: Tensor, names: str) -> None:
        with pytest.raises(ValueError, match=names):
            add_rows(started().data, torch.tensor(target), rows)


class TestAcquisition:
    config = replace(TINY, rounds=2, model_steps=20, graph_steps=20, update_steps=30, gamma_rate=0.1, sparsity=0.02)

    @pytest.mark.parametrize("rule", ["gradient", "random"])
    def test_rows_of_chosen_targets_are_added_and_used(self, rule: Any) -> None:
        asked: list[Tensor] = []

        def sampler(target: Tensor) -> Tensor:
            asked.append(target)
            return rows_of_chain(4, 40, 20_000 + len(asked), target)

        state = started(4, self.config)
        made = acquire(state, sampler, rule, 5)
        assert torch.equal(made.targets, torch.stack(asked)) and made.probabilities.shape == (6, 4, 3, 3)
        assert torch.equal(made.probabilities[0], state.probabilities)
        assert torch.equal(made.probabilities[-1], made.fitted.probabilities)
        counts = torch.stack([torch.bincount(column, minlength=3) for column in made.targets.T])
        assert torch.equal(made.fitted.data.counts[:, :-1], 40 * counts)
        assert made.fitted.steps == (20 * (2 + 5), 20 * 2 + 30 * 5)
        wrong = ((made.probabilities > 0.5) != CHAIN.bool()).sum((2, 3))
        assert int(wrong[-1].sum()) < int(wrong[0].sum())

    def test_the_same_seed_chooses_the_same(self) -> None:
        runs = [acquire(started(2), lambda target: rows_of_chain(2, 10, 5, target), "gradient", 2) for _ in range(2)]
        assert torch.equal(runs[0].targets, runs[1].targets)
        assert torch.equal(runs[0].probabilities, runs[1].probabilities)

    def test_answers_stay_known(self) -> None:
        state = clamp(started(), only_open(0, 1)[None])
        made = acquire(state, lambda target: rows_of_chain(1, 10, 5, target), "gradient", 2)
        assert float(made.probabilities[-1, 0, 1, 2]) < 1e-9


def test_bad_choices() -> None:
    state = started()
    with pytest.raises(ValueError, match="rule"):
        choose_target(state, "best", Imagination(), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rounds"):
        acquire(state, lambda target: rows_of_chain(1, 5, 0, target), "random", 0)
    for wrong in ({"graphs": 0}, {"rows": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Imagination(**wrong)
