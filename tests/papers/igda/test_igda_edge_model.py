"""An edge model as the expert of many replicates: asked what it must be asked, once, and never shown the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.edge_model import EdgeBeliefs, ModelExpert, Result, alike, check_edges, results_of
from twelvefold.papers.igda.feedback import add_answers, no_feedback, pairs
from twelvefold.papers.igda.loop import Discovery, Policy, discover
from twelvefold.tasks.causal_graphs import CausalGraph, load_graph

ASIA = load_graph("asia")
N = ASIA.size


class Fixed:
    """A model whose belief follows from the pair and from what is known, and which keeps what it was asked."""

    def __init__(self, answer: Callable[[EdgeBeliefs], EdgeBeliefs] = lambda found: found) -> None:
        self.asked: list[tuple[list[tuple[int, ...]], list[Result], Tensor | None]] = []
        self.answer = answer

    def beliefs(self, graph: CausalGraph, edges: Tensor, feedback: Sequence[Result], generator: torch.Generator,
                earlier: Tensor | None = None) -> EdgeBeliefs:  # fmt: skip
        self.asked.append(([tuple(edge) for edge in edges.tolist()], list(feedback), earlier))
        near = [sum(1 for r in feedback if {r.i, r.j} & {i, j}) for i, j in edges.tolist()]
        before = torch.zeros(len(edges)) if earlier is None else earlier.nan_to_num(0)
        logits = torch.sin(3.0 * edges[:, 0] + 5.0 * edges[:, 1]) + 0.3 * torch.tensor(near) + before
        return self.answer(EdgeBeliefs(torch.sigmoid(logits.double()), n_failed=len(edges)))


def run(expert: Any, policy: Policy, replicates: int, seed: int = 10_000, rounds: int = 4) -> Discovery:
    return discover(expert, ASIA.edges, policy, replicates=replicates, rounds=rounds, experiments=5,
                    generator=torch_generator(seed, 0, "ties"))  # fmt: skip


def expert_of(model: Any, graph: CausalGraph = ASIA) -> ModelExpert:
    return ModelExpert(model, graph, torch_generator(10_000, 0, "model"))


class Alone:
    """Asks about each replicate by itself."""

    def __init__(self, replicates: int) -> None:
        self.experts = [expert_of(Fixed()) for _ in range(replicates)]

    def beliefs(self, asked: Tensor, feedback: Any) -> Tensor:
        own = [expert.beliefs(asked[s : s + 1], type(feedback)(*(part[s : s + 1] for part in feedback)))
               for s, expert in enumerate(self.experts)]  # fmt: skip
        return torch.cat(own)


class TestTheLoop:
    def test_equal_replicates_are_asked_once(self) -> None:
        model = Fixed()
        made = run(expert_of(model), Policy("uncertainty", "local"), replicates=7)
        assert len(model.asked) == 5  # no ties: all replicates do the same
        assert torch.equal(made.f1, made.f1[:1].expand(7, -1))
        assert [len(asked[0]) for asked in model.asked] == made.questions[0].diff(prepend=torch.zeros(1)).tolist()

    @pytest.mark.parametrize("policy", [Policy("random", "local"), Policy("random", "global"),
                                        Policy("uncertainty", "local", "any_endpoint")])  # fmt: skip
    def test_each_replicate_gets_what_it_would_get_alone(self, policy: Policy) -> None:
        together, alone = run(expert_of(Fixed()), policy, 6), run(Alone(6), policy, 6)
        assert torch.equal(together.beliefs, alone.beliefs) and torch.equal(together.f1, alone.f1)

    def test_only_what_is_asked_for(self) -> None:
        model = Fixed()
        run(expert_of(model), Policy("random", "none"), 3)
        assert len(model.asked) == 1 and len(model.asked[0][0]) == N * (N - 1)
        model = Fixed()
        run(expert_of(model), Policy("random", "local"), 3)
        for edges, results, _ in model.asked[1:]:
            last = [r for r in results if r.round == results[-1].round]
            assert not {*edges} & {(r.i, r.j) for r in results}
            assert all(any(i == r.i or j == r.j for r in last) for i, j in edges)

    def test_the_earlier_belief_is_the_last_one_stated(self) -> None:
        model = Fixed()
        made = run(expert_of(model), Policy("uncertainty", "local"), 1)
        stated: dict[tuple[int, ...], float] = {}
        fixed = Fixed()
        for number, (edges, results, earlier) in enumerate(model.asked):
            assert (earlier is None) == (number == 0)
            if earlier is not None:
                assert earlier.tolist() == [stated[edge] for edge in edges]
            found = fixed.beliefs(ASIA, torch.tensor(edges), results, torch.Generator(), earlier)
            stated |= dict(zip(edges, found.p.tolist(), strict=True))
        untested = (~made.feedback.tested[0] & pairs(N)).nonzero().tolist()
        assert all(float(made.beliefs[0, i, j]) == stated[i, j] for i, j in untested)

    def test_a_new_run_begins_afresh_and_counts_go_on(self) -> None:
        expert = expert_of(Fixed())
        first = run(expert, Policy(), 2)
        asked = expert.n_asked
        again = run(expert, Policy(), 2)
        assert torch.equal(first.beliefs, again.beliefs) and expert.n_asked == 2 * asked == expert.n_failed

    def test_only_some_asked_before(self) -> None:
        """A pair that was never asked about has no earlier belief."""
        model, some = Fixed(), torch.zeros(1, N, N, dtype=torch.bool)
        some[0, 0, 1] = some[0, 2, 3] = True
        expert, feedback = expert_of(model), no_feedback(1, N)
        expert.beliefs(some, feedback)
        test = torch.zeros_like(some)
        test[0, 2, 3] = True
        found = expert.beliefs(pairs(N)[None] & ~test, add_answers(feedback, test, ASIA.edges))
        earlier = model.asked[1][2]
        assert earlier is not None and int((~earlier.isnan()).sum()) == 1 and not earlier[0].isnan()
        assert float(found[0, 2, 3]) == 0 and float(found[0].diagonal().sum()) == 0


def test_groups() -> None:
    feedback, asked = no_feedback(4, N), pairs(N).repeat(4, 1, 1)
    last = torch.full(asked.shape, torch.nan, dtype=torch.float64)
    assert alike(asked, feedback, last) == [[0, 1, 2, 3]]
    test = torch.zeros_like(asked)
    test[1, 0, 1] = test[3, 0, 1] = True
    assert alike(asked, add_answers(feedback, test, ASIA.edges), last) == [[0, 2], [1, 3]]
    asked[0, 0, 1], last[3, 4, 5] = False, 0.5
    assert alike(asked, feedback, last) == [[0], [1, 2], [3]]


def test_results_in_order() -> None:
    first, second = torch.zeros(2, N, N, dtype=torch.bool), torch.zeros(2, N, N, dtype=torch.bool)
    first[:, 5, 7] = first[:, 3, 2] = second[1, 0, 1] = True
    feedback = add_answers(add_answers(no_feedback(2, N), first, ASIA.edges), second, ASIA.edges)
    old = [Result(3, 2, bool(ASIA.edges[3, 2]), 1), Result(5, 7, bool(ASIA.edges[5, 7]), 1)]
    assert results_of(feedback, 0) == old
    assert results_of(feedback, 1) == [*old, Result(0, 1, bool(ASIA.edges[0, 1]), 2)]


class TestBadInput:
    @pytest.mark.parametrize(("answer", "message"), [
        (lambda found: found._replace(p=found.p[:-1]), r"have shape \(55,\); \(56,\) is needed"),
        (lambda found: found._replace(p=found.p + 1), "probabilities from 0 to 1"),
        (lambda found: found._replace(p=found.p * torch.nan), "probabilities from 0 to 1"),
    ])  # fmt: skip
    def test_answers_that_are_none(self, answer: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            expert_of(Fixed(answer)).beliefs(pairs(N)[None], no_feedback(1, N))

    def test_another_graph(self) -> None:
        with pytest.raises(ValueError, match=r"both must be \(2, 11, 11\) for 'sachs'"):
            run(expert_of(Fixed(), load_graph("sachs")), Policy(), 2)

    @pytest.mark.parametrize(("edges", "message"), [
        (torch.tensor([[0, 0]]), r"holds \[0, 0\]"), (torch.tensor([[0, 1], [1, 8]]), r"holds \[1, 8\]"),
        (torch.tensor([[-1, 1]]), r"holds \[-1, 1\]"), (torch.tensor([0, 1]), r"\(2,\); int64 \[E, 2\]"),
        (torch.tensor([[0.0, 1.0]]), "float32"), (torch.tensor([[0, 1, 2]]), r"\(1, 3\)"),
    ])  # fmt: skip
    def test_edges(self, edges: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            check_edges(edges, ASIA)
        check_edges(pairs(N).nonzero(), ASIA)


class Naming(Fixed):
    """Names the pairs of a list that are still open, and keeps what it was asked."""

    def __init__(self, wanted: list[tuple[int, int]]) -> None:
        super().__init__()
        self.wanted, self.choices = wanted, list[tuple[int, list[Result]]]()

    def choose(self, graph: CausalGraph, count: int, feedback: Sequence[Result],
               generator: torch.Generator) -> Tensor:  # fmt: skip
        self.choices.append((count, list(feedback)))
        known = {(r.i, r.j) for r in feedback}
        return torch.tensor([pair for pair in self.wanted if pair not in known][:count]).view(-1, 2)


class TestChoosing:
    def test_named_pairs_first_and_the_rest_at_random(self) -> None:
        wanted = [(4, 5), (0, 1), (7, 2), (3, 0), (6, 5), (1, 7), (2, 3)]  # seven; five are tested a round
        model = Naming(wanted)
        made = run(expert_of(model), Policy("expert", "none"), replicates=3, rounds=2)
        rounds = made.feedback.round
        assert all([int(rounds[s, i, j]) for i, j in wanted] == [1] * 5 + [2] * 2 for s in range(3))
        assert made.tests.tolist() == [0, 5, 10] and not torch.equal(rounds[0], rounds[1])
        # asked once while all stand alike, then once
        assert [count for count, _ in model.choices] == [5, 5]
        assert [(r.i, r.j) for r in model.choices[1][1]] == sorted(wanted[:5])

    def test_the_order_of_names_counts(self) -> None:
        model, nothing = Naming([(4, 5), (0, 1), (7, 2)]), no_feedback(2, N)
        wanted = expert_of(model).urgency(torch.full((2, N, N), 0.5, dtype=torch.float64), nothing, 5)
        assert [wanted[1, i, j].item() for i, j in model.wanted] == [5, 4, 3] and wanted.sum() == 24

    def test_what_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Fixed has no method `choose`"):
            run(expert_of(Fixed()), Policy("expert", "none"), 2)
        tested = add_answers(no_feedback(1, N), torch.eye(N).roll(1, 1)[None].bool(), ASIA.edges)
        beliefs = torch.full((1, N, N), 0.5, dtype=torch.float64)
        for named in ([(0, 1)], [(0, 2), (0, 3), (0, 4)]):  # tested already; more than two

            class Wrong(Naming):
                def choose(self, *_: Any) -> Tensor:
                    return torch.tensor(self.wanted)

            with pytest.raises(ValueError, match="at most 2 pairs without a result are needed"):
                expert_of(Wrong(named)).urgency(beliefs, tested, 2)
        with pytest.raises(ValueError, match="two different variables"):
            expert_of(Naming([(1, 1)])).urgency(beliefs, tested, 2)
