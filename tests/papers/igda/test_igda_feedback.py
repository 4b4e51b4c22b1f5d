"""What has been tested, which pairs a round bears on, and what beliefs and labels are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.beliefs import belief_of_samples, labels, uncertainty, voted
from twelvefold.papers.igda.feedback import add_answers, neighbours, no_feedback, pairs
from twelvefold.papers.igda.metrics import agreement, calibration, ranking_quality

EDGES = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)


def selection(*places: tuple[int, int]) -> torch.Tensor:
    chosen = torch.zeros(1, 4, 4, dtype=torch.bool)
    for place in places:
        chosen[0, place[0], place[1]] = True
    return chosen


class TestFeedback:
    def test_answers_are_the_truth_and_rounds_are_counted(self) -> None:
        first = add_answers(no_feedback(1, 4), selection((0, 1), (2, 3)), EDGES)
        second = add_answers(first, selection((1, 2)), EDGES)
        assert second.tested[0].nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
        assert second.present[0].nonzero().tolist() == [[0, 1], [1, 2]]
        assert [int(second.round[0, i, j]) for i, j in ((0, 1), (2, 3), (1, 2), (0, 2))] == [1, 1, 2, 0]
        assert (first.last_round, second.last_round) == (1, 2)

    def test_a_pair_is_tested_once_and_never_with_itself(self) -> None:
        first = add_answers(no_feedback(1, 4), selection((0, 1)), EDGES)
        for wrong in (selection((0, 1)), selection((2, 2))):
            with pytest.raises(ValueError, match="tested before, or a variable with itself"):
                add_answers(first, wrong, EDGES)

    def test_neighbours_by_hand(self) -> None:
        made = add_answers(no_feedback(1, 4), selection((0, 1)), EDGES)
        assert neighbours(made)[0].nonzero().tolist() == [[0, 2], [0, 3], [2, 1], [3, 1]]
        touching = {(i, j) for i in range(4) for j in range(4) if i != j and {i, j} & {0, 1}} - {(0, 1)}
        assert {*map(tuple, neighbours(made, "any_endpoint")[0].nonzero().tolist())} == touching

    def test_only_the_last_round_has_neighbours(self) -> None:
        made = add_answers(add_answers(no_feedback(1, 4), selection((0, 1)), EDGES), selection((2, 3)), EDGES)
        assert neighbours(made)[0].nonzero().tolist() == [[0, 3], [1, 3], [2, 0], [2, 1]]

    def test_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="replicates = 0"):
            no_feedback(0, 4)
        with pytest.raises(ValueError, match="variables = 1"):
            no_feedback(1, 1)
        with pytest.raises(ValueError, match="neighbourhood = 'far'; known are"):
            neighbours(no_feedback(1, 3), "far")  # type: ignore[arg-type]


class TestBeliefs:
    @given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
    def test_uncertainty_ranks_as_entropy_and_margin_do(self, values: list[float]) -> None:
        p = torch.tensor(values, dtype=torch.float64)
        entropy = torch.special.entr(p) + torch.special.entr(1 - p)
        u = uncertainty(p)
        for i in range(len(p)):
            for j in range(len(p)):
                if u[i] > u[j] + 1e-9:
                    assert entropy[i] >= entropy[j] and (p[i] - 0.5).abs() < (p[j] - 0.5).abs()

    def test_labels_and_samples_by_hand(self) -> None:
        assert labels(torch.tensor([0.2, 0.5, 0.51])).tolist() == [False, False, True]
        answers = torch.tensor([[True, True, False, True]])
        assert belief_of_samples(answers).tolist() == [0.75]
        stated = torch.tensor([[0.9, 0.6, 0.8, 1.0]], dtype=torch.float64)
        assert belief_of_samples(answers, stated).tolist() == pytest.approx([(0.9 + 0.6 + 0.2 + 1.0) / 4])

    def test_votes_are_binomial_shares(self) -> None:
        p = torch.full((4000,), 0.3, dtype=torch.float64)
        shares = voted(p, 4, torch_generator(10_000, 0, "votes"))
        assert {*shares.tolist()} <= {0, 0.25, 0.5, 0.75, 1}
        assert float(shares.mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 4 / 4000) ** 0.5)
        assert voted(p, None, torch_generator(10_000, 0, "votes")) is p

    @pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
    def test_what_is_no_probability(self, value: float) -> None:
        bad = torch.tensor([0.5, value])
        for call in (uncertainty, labels, lambda p: voted(p, 2, torch_generator(1, 0, "votes"))):
            with pytest.raises(ValueError, match="probabilities from 0 to 1"):
                call(bad)

    def test_bad_samples(self) -> None:
        with pytest.raises(ValueError, match="at least one sample"):
            belief_of_samples(torch.zeros(3, 0, dtype=torch.bool))
        with pytest.raises(ValueError, match="confidences has shape"):
            belief_of_samples(torch.ones(3, 2, dtype=torch.bool), torch.ones(3, 1))
        with pytest.raises(ValueError, match="votes = 0"):
            voted(torch.ones(2), 0, torch_generator(1, 0, "votes"))


class TestMetrics:
    @settings(max_examples=30)
    @given(st.integers(0, 2**31))
    def test_f1_and_auroc_agree_with_scikit_learn(self, seed: int) -> None:
        drawn = np.random.default_rng(seed)
        truth = drawn.random((6, 6)) < 0.3
        np.fill_diagonal(truth, False)
        truth[0, 1], truth[1, 0] = True, False
        predicted, known = drawn.random((3, 6, 6)) < 0.4, drawn.random((3, 6, 6)) < 0.3
        beliefs = np.round(drawn.random((3, 6, 6)), 1)  # with ties
        made = agreement(torch.from_numpy(predicted), torch.from_numpy(truth), torch.from_numpy(known))
        off = ~np.eye(6, dtype=bool)
        auroc = ranking_quality(torch.from_numpy(beliefs), torch.from_numpy(truth))
        for s in range(3):
            assert float(made.f1[s]) == pytest.approx(f1_score(truth[off], predicted[s][off]))
            rest = off & ~known[s]
            assert float(made.f1_untested[s]) == pytest.approx(
                f1_score(truth[rest], predicted[s][rest], zero_division=1.0) if rest.any() else 1.0
            )
            assert float(auroc[s]) == pytest.approx(roc_auc_score(truth[off], beliefs[s][off]))

    def test_distance_counts_a_turned_edge_once(self) -> None:
        predicted = EDGES.clone()[None]
        predicted[0, 0, 1], predicted[0, 1, 0] = False, True  # turned
        predicted[0, 1, 2] = False  # missing
        predicted[0, 2, 0] = True  # added
        made = agreement(predicted, EDGES, torch.zeros_like(predicted))
        assert made.distance.tolist() == [3] and agreement(EDGES[None], EDGES, ~pairs(4)[None]).distance.tolist() == [0]

    def test_the_diagonal_does_not_count(self) -> None:
        predicted = EDGES[None] | torch.eye(4, dtype=torch.bool)
        made = agreement(predicted, EDGES, torch.zeros_like(predicted))
        assert made.f1.tolist() == [1] and made.distance.tolist() == [0]

    def test_calibration_by_hand(self) -> None:
        beliefs = torch.where(EDGES, 0.8, 0.1).double()[None]
        beliefs[0, 0, 1] = 0.1
        found = calibration(beliefs, EDGES, bins=2)
        assert found.pairs.tolist() == [9, 3] and found.share.tolist() == pytest.approx([1 / 9, 1])
        assert found.belief.tolist() == pytest.approx([0.1, 0.8])
        assert found.expected_error == pytest.approx((abs(1 / 9 - 0.1) * 9 + 0.2 * 3) / 12)
        assert brier_score_loss(EDGES[pairs(4)], beliefs[0][pairs(4)]) < 0.25

    def test_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match=r"\[S, n, n\], \[n, n\]"):
            agreement(EDGES, EDGES, EDGES)
        with pytest.raises(ValueError, match="0 edges"):
            ranking_quality(torch.rand(1, 3, 3), torch.zeros(3, 3, dtype=torch.bool))
        with pytest.raises(ValueError, match="bins = 0"):
            calibration(torch.rand(1, 4, 4), EDGES, bins=0)
