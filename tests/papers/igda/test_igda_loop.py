"""The loop's invariants, and the simulated expert against brute-force conditioning of the joint normal distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.feedback import Feedback, add_answers, neighbours, no_feedback, pairs
from twelvefold.papers.igda.loop import BY_EXPERT, SELECTIONS, Discovery, Policy, area, ask, discover, largest, select
from twelvefold.papers.igda.metrics import calibration, ranking_quality
from twelvefold.papers.igda.simulated_expert import SimulatedExpert, Skill, all_pairs, draw_expert, shared_errors
from twelvefold.tasks.causal_graphs import load_graph

from tests.papers.igda.plain_loop import plain_discovery

ASIA, CHILD = load_graph("asia").edges, load_graph("child").edges


def run(policy: Policy, skill: Skill | None = None, edges: Tensor = ASIA, replicates: int = 6, rounds: int = 5,
        experiments: int = 4, seed: int = 10_000) -> Discovery:  # fmt: skip
    expert = draw_expert(skill or Skill(), edges, replicates, torch_generator(seed, 0, "expert"))
    return discover(expert, edges, policy, replicates=replicates, rounds=rounds, experiments=experiments,
                    generator=torch_generator(seed, 0, "ties"))  # fmt: skip


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("update", ["none", "local", "global"])
class TestInvariants:
    def test_tests_are_new_and_true(self, selection: str, update: str) -> None:
        made = run(Policy(selection, update))
        assert made.tests.tolist() == [0, 4, 8, 12, 16, 20]
        assert made.feedback.tested.sum((1, 2)).tolist() == [20] * 6
        tested = made.feedback.tested
        assert torch.equal(made.feedback.present, tested & ASIA)
        assert torch.equal(made.beliefs[tested] > 0.5, ASIA.expand_as(tested)[tested])
        assert torch.equal(made.found[:, -1], (tested & ASIA).sum((1, 2)))

    def test_everything_tested_is_everything_known(self, selection: str, update: str) -> None:
        made = run(Policy(selection, update), rounds=4, experiments=15)
        assert made.tests.tolist() == [0, 15, 30, 45, 56]
        assert made.f1[:, -1].tolist() == [1] * 6 and made.distance[:, -1].tolist() == [0] * 6
        more = run(Policy(selection, update), rounds=6, experiments=15)
        assert torch.equal(more.f1[:, :5], made.f1) and more.f1[:, -1].tolist() == [1] * 6

    def test_without_shared_errors_an_update_changes_nothing(self, selection: str, update: str) -> None:
        alone = Skill(shared_source=0, shared_target=0)
        made, fixed = run(Policy(selection, update), alone), run(Policy(selection, "none"), alone)
        assert torch.equal(made.f1, fixed.f1) and torch.equal(made.beliefs, fixed.beliefs)


def test_a_replicate_does_what_it_does_alone() -> None:
    expert = draw_expert(Skill(), ASIA, 5, torch_generator(10_000, 0, "expert"))
    rule = Policy("uncertainty", "local")
    options = {"rounds": 4, "experiments": 3}
    whole = discover(expert, ASIA, rule, replicates=5, generator=torch_generator(1, 0, "ties"), **options)
    for s in range(5):
        one = expert._replace(evidence=expert.evidence[s : s + 1])
        alone = discover(one, ASIA, rule, replicates=1, generator=torch_generator(2, 0, "ties"), **options)
        assert torch.equal(alone.f1[0], whole.f1[s]) and torch.equal(alone.feedback.round[0], whole.feedback.round[s])


@pytest.mark.parametrize("skill", [Skill(), Skill(1.0, 0.4, 0.1, bias=1.5, temperature=2.0)])
def test_the_loop_does_what_the_plain_one_does(skill: Skill) -> None:
    for edges, experiments in ((ASIA, 3), (CHILD, 15)):
        expert = draw_expert(skill, edges, 4, torch_generator(10_000, 0, "expert"))
        made = discover(expert, edges, Policy(), replicates=4, rounds=5, experiments=experiments,
                        generator=torch_generator(1, 0, "ties"))  # fmt: skip
        for s in range(4):
            curve = plain_discovery(skill, edges.numpy(), expert.evidence[s].numpy(), 5, experiments)
            assert made.f1[s].tolist() == pytest.approx(curve, abs=1e-12)


def test_questions_are_counted() -> None:
    made = run(Policy("random", "none"))
    assert made.questions.tolist() == [[56] * 6] * 6
    wide = run(Policy("random", "global"))
    assert wide.questions[0].tolist() == [56, 56 + 52, 56 + 52 + 48, 56 + 52 + 48 + 44, 240, 276]
    local = run(Policy("random", "local"), rounds=1)
    assert torch.equal(local.questions[:, 1] - 56, neighbours(local.feedback).sum((1, 2)))


class TestSelection:
    def test_order_by_hand(self) -> None:
        p = torch.tensor([[[0, 0.9, 0.45], [0.1, 0, 0.6], [0.02, 0.5, 0]]], dtype=torch.float64)
        nothing = no_feedback(1, 3)
        best = {
            rule: select(rule, p, nothing, 1, torch_generator(1, 0, "ties"))[0].nonzero().tolist()
            for rule in SELECTIONS
        }
        assert best["uncertainty"] == [[2, 1]] and best["top"] == [[0, 1]] and best["confident"] == [[2, 0]]

    def test_ties_are_broken_evenly(self) -> None:
        p = torch.full((6000, 3, 3), 0.5, dtype=torch.float64)
        chosen = select("uncertainty", p, no_feedback(6000, 3), 1, torch_generator(10_000, 0, "ties")).sum(0)
        assert int(chosen.diagonal().sum()) == 0
        assert all(abs(int(n) - 1000) < 4.5 * math.sqrt(6000 * 5 / 36) for n in chosen[pairs(3)])

    def test_bad_arguments(self) -> None:
        p = torch.full((1, 3, 3), 0.5)
        with pytest.raises(ValueError, match="rule = 'best'; known are"):
            select("best", p, no_feedback(1, 3), 1, torch_generator(1, 0, "ties"))
        with pytest.raises(ValueError, match="count = 7; only 6 pairs"):
            select("top", p, no_feedback(1, 3), 7, torch_generator(1, 0, "ties"))

    def test_an_expert_may_choose(self) -> None:
        calls = []

        class Choosing:
            """Wants pairs in the order of their numbers; believes one half of all."""

            def beliefs(self, asked: torch.Tensor, feedback: Feedback) -> torch.Tensor:
                return torch.full(asked.shape, 0.5, dtype=torch.float64)

            def urgency(self, beliefs: torch.Tensor, feedback: Feedback, count: int) -> torch.Tensor:
                calls.append((float(beliefs[feedback.tested].sum()), int(feedback.tested[0].sum()), count))
                return -torch.arange(beliefs[0].numel()).double().view(beliefs.shape[1:]).expand(beliefs.shape)

        made = discover(Choosing(), ASIA, Policy(BY_EXPERT, "none"), replicates=2, rounds=8, experiments=9,
                        generator=torch_generator(1, 0, "ties"))  # fmt: skip
        assert [call[1:] for call in calls] == [(9 * k, 9) for k in range(6)] + [(54, 2)]  # 56 pairs
        order = pairs(8).nonzero().tolist()
        rounds = made.feedback.round[0]
        assert [int(rounds[i, j]) for i, j in order] == [1 + k // 9 for k in range(56)]
        seen = [float(ASIA[tuple(zip(*order[: 9 * k], strict=True))].sum()) if k else 0.0 for k in range(7)]
        assert [call[0] for call in calls] == [2 * found for found in seen]

    def test_an_expert_that_cannot_choose_is_refused_at_once(self) -> None:
        expert = draw_expert(Skill(), ASIA, 1, torch_generator(1, 0, "expert"))
        with pytest.raises(ValueError, match="selection = 'expert' needs an expert with a method `urgency`"):
            discover(expert, ASIA, Policy(BY_EXPERT), replicates=1, rounds=1, experiments=1,
                     generator=torch_generator(1, 0, "ties"))  # fmt: skip

    def test_values_that_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"values has shape \(1, 2, 2\)"):
            largest(torch.zeros(1, 2, 2), no_feedback(1, 3), 1, torch_generator(1, 0, "ties"))
        values = torch.zeros(1, 3, 3)
        values[0, 0, 1] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            largest(values, no_feedback(1, 3), 1, torch_generator(1, 0, "ties"))


class TestExpert:
    @pytest.mark.parametrize("shares", [(0.25, 0.25), (0.4, 0.0), (0.0, 0.3), (0.6, 0.3)])
    def test_shared_errors_against_the_joint_normal_distribution(self, shares: tuple[float, float]) -> None:
        skill, n, d = Skill(1.5, *shares), 4, 1.5
        edges = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
        expert = draw_expert(skill, edges, 2, torch_generator(10_000, 0, "expert"))
        chosen = torch.zeros(2, n, n, dtype=torch.bool)
        chosen[0, [0, 0, 2], [1, 2, 3]] = True
        chosen[1, [3, 1, 0], [0, 3, 3]] = True
        feedback = add_answers(no_feedback(2, n), chosen, edges)
        means, variances = shared_errors(skill, expert.evidence, edges, feedback)
        order = [(i, j) for i in range(n) for j in range(n) if i != j]
        cover = np.array([[shares[0] * (i == k) + shares[1] * (j == m) + skill.own_variance * ((i, j) == (k, m))
                           for k, m in order] for i, j in order])  # fmt: skip
        for s in range(2):
            known = np.array([bool(chosen[s, i, j]) for i, j in order])
            r = np.array([float(expert.evidence[s, i, j]) - d * (float(edges[i, j]) - 0.5) for i, j in order])
            gain = cover[~known][:, known] @ np.linalg.inv(cover[known][:, known])
            mean, spread = gain @ r[known], np.diag(cover[~known][:, ~known] - gain @ cover[known][:, ~known])
            rest = [pair for pair, k in zip(order, known, strict=True) if not k]
            assert [float(means[s, i, j]) for i, j in rest] == pytest.approx(mean.tolist(), abs=1e-12)
            assert [float(variances[s, i, j]) for i, j in rest] == pytest.approx(spread.tolist(), abs=1e-12)

    def test_beliefs_are_bayes_rule(self) -> None:
        skill = Skill(1.2, 0.2, 0.1)
        expert = draw_expert(skill, ASIA, 1, torch_generator(10_000, 0, "expert"))
        nothing = no_feedback(1, 8)
        p = expert.beliefs(all_pairs(expert), nothing)[0]
        x, density = expert.evidence[0].numpy(), 8 / 56
        yes, no = density * norm.pdf(x, 0.6), (1 - density) * norm.pdf(x, -0.6)
        assert np.allclose(p[pairs(8)], (yes / (yes + no))[pairs(8).numpy()], atol=1e-12)
        told = SimulatedExpert(Skill(1.2, 0.2, 0.1, bias=2.0, temperature=4.0), *expert[1:]).beliefs(
            all_pairs(expert), nothing
        )
        assert torch.allclose(torch.logit(told[0][pairs(8)]), (torch.logit(p[pairs(8)]) + 2) / 4)

    def test_ranking_and_calibration_are_as_stated(self) -> None:
        expert = draw_expert(Skill(1.5), CHILD, 400, torch_generator(10_000, 0, "expert"))
        p = expert.beliefs(all_pairs(expert), no_feedback(400, 20))
        quality = ranking_quality(p, CHILD)
        error = float(quality.std() / 20)
        assert float(quality.mean()) == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=4 * error)
        assert calibration(p, CHILD).expected_error < 0.01
        biased = draw_expert(Skill(1.5, bias=2.0), CHILD, 400, torch_generator(10_000, 0, "expert"))
        assert calibration(biased.beliefs(all_pairs(biased), no_feedback(400, 20)), CHILD).expected_error > 0.1

    def test_beliefs_stay_calibrated_after_feedback(self) -> None:
        skill = Skill(1.5, 0.4, 0.4)
        expert = draw_expert(skill, CHILD, 400, torch_generator(10_001, 0, "expert"))
        made = discover(expert, CHILD, Policy("random", "global"), replicates=400, rounds=1, experiments=120,
                        generator=torch_generator(1, 0, "ties"))  # fmt: skip
        rest = pairs(20) & ~made.feedback.tested
        bins = (made.beliefs[rest] * 5).long().clamp(max=4)
        true = CHILD.expand_as(rest)[rest].double()
        for b in range(5):
            stated, share, count = made.beliefs[rest][bins == b].mean(), true[bins == b].mean(), int((bins == b).sum())
            # replicates share errors, so the binomial error is too small: three times as much is allowed
            assert abs(float(stated - share)) < 12 * math.sqrt(float(stated * (1 - stated)) / count)

    def test_votes(self) -> None:
        expert = draw_expert(Skill(votes=4), ASIA, 3, torch_generator(10_000, 0, "expert"))
        p = expert.beliefs(all_pairs(expert), no_feedback(3, 8))
        assert {*p.flatten().tolist()} <= {0, 0.25, 0.5, 0.75, 1}

    @pytest.mark.parametrize(
        "options",
        [
            {"separation": -1}, {"shared_source": 0.6, "shared_target": 0.4}, {"shared_source": -0.1}, {"votes": 0},
            {"temperature": 0}, {"bias": float("nan")}, {"separation": float("nan")},
        ],
    )  # fmt: skip
    def test_skills_that_are_refused(self, options: dict) -> None:
        with pytest.raises(ValueError, match="Skill"):
            Skill(**options)

    def test_graphs_that_are_refused(self) -> None:
        for edges in (torch.zeros(3, 3, dtype=torch.bool), pairs(3)):
            with pytest.raises(ValueError, match="density"):
                draw_expert(Skill(), edges, 1, torch_generator(1, 0, "expert"))


class Stubborn:
    """An expert that states the same number whatever it is asked."""

    def __init__(self, stated: Tensor) -> None:
        self.stated = stated

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        return self.stated


def test_an_experts_answer_is_checked_where_it_was_asked() -> None:
    nothing, before = no_feedback(1, 3), torch.zeros(1, 3, 3, dtype=torch.float64)
    asked = torch.zeros(1, 3, 3, dtype=torch.bool)
    asked[0, 0, 1] = True
    stated = torch.full((1, 3, 3), 7.0)
    with pytest.raises(ValueError, match="beliefs hold 7.0"):
        ask(Stubborn(stated), asked, nothing, before)
    stated[0, 0, 1] = 0.4
    made = ask(Stubborn(stated), asked, nothing, before)
    assert made[0, 0, 1] == pytest.approx(0.4) and made.sum() == made[0, 0, 1]
    with pytest.raises(ValueError, match="have shape"):
        ask(Stubborn(stated[0]), asked, nothing, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"selection": "best"}, "selection = 'best'"), ({"update": "all"}, "update = 'all'"),
     ({"neighbourhood": "near"}, "neighbourhood = 'near'")],
)  # fmt: skip
def test_policies_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**options)


@pytest.mark.parametrize("options", [{"replicates": 0}, {"rounds": -1}, {"experiments": 0}])
def test_numbers_that_are_refused(options: dict) -> None:
    sizes = {"replicates": 1, "rounds": 1, "experiments": 1} | options
    expert = draw_expert(Skill(), ASIA, 1, torch_generator(1, 0, "expert"))
    with pytest.raises(ValueError, match="replicates = "):
        discover(expert, ASIA, Policy(), generator=torch_generator(1, 0, "ties"), **sizes)


def test_area_is_the_mean_over_rounds() -> None:
    assert area(torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])).tolist() == [0.5, 1.0]
