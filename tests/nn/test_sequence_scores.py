"""Scores of continuations: against one sequence at a time, against decoding token by token, and members alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn import exact_match as exact_matches
from twelvefold.nn.exact_match import check_continuations, exact_match
from twelvefold.nn.sequence_scores import SequenceScores, sequence_scores
from twelvefold.nn.transformer import Weights, forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.prompt_populations import prompt_population, task_of
from twelvefold.tasks.vocabulary import EOS_ID

CONFIG = TransformerConfig(13, 12, 2, 2, 0, positions="learned", longest=30, tied_head=False, embedding_std=1.0,
                           initialisation="fan_in")  # fmt: skip
TRAINED: dict[str, tuple[dict[str, Any], int]] = {  # settings and updates: enough for some right answers, not for all
    "copying": ({"alphabet": 6, "lengths": [[3, 1], [4, 1]]}, 240),
    "counting": ({"numbers": 12, "lengths": [[n, 1] for n in range(1, 6)]}, 70),
    "addition": ({"base": 3, "hints": 5, "lengths": [[1, 1], [2, 1]]}, 160),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case(NamedTuple):
    config: TransformerConfig
    weights: Weights
    tokens: Tensor
    first: Tensor
    lengths: Tensor
    starts: Tensor

    def scores(self) -> SequenceScores:
        return sequence_scores(*self)


def weights_of(members: int) -> Weights:
    return initial_weights(CONFIG, [torch_generator(10_000, r, "initial weights") for r in range(members)])


def drawn(members: int = 3, n: int = 23, width: int = 11) -> Case:
    """Random weights, tokens and places; most continuations are one or two tokens, so that some are right."""
    generator = torch_generator(10_000, n, "cases")
    lengths = torch.randint(2, width + 1, (n,), generator=generator)
    first = (lengths - torch.randint(1, 4, (n,), generator=generator)).clamp(min=1)
    tokens = torch.randint(CONFIG.vocabulary, (n, width), generator=generator)
    return Case(CONFIG, weights_of(members), tokens, first, lengths, torch.randint(20, (n,), generator=generator))


def member(weights: Weights, number: int) -> Weights:
    return {name: weight[number : number + 1] for name, weight in weights.items()}


def one_by_one(case: Case) -> tuple[list[list[bool]], Tensor]:
    """Exact match and (loss, worst, margin) `[P, n, 3]`, one member and one sequence at a time, in plain loops."""
    exact: list[list[bool]] = []
    rest: list[list[list[float]]] = []
    for number in range(len(case.weights["embedding"])):
        exact.append([])
        rest.append([])
        own = member(case.weights, number)
        for row, tokens in enumerate(case.tokens.tolist()):
            first, length = int(case.first[row]), int(case.lengths[row])
            logits = forward(case.config, own, torch.tensor([tokens[:length]]), starts=case.starts[row : row + 1])[0, 0]
            right, logs, leads = True, [], []
            for place in range(first, length):  # the logits at `place` - 1 predict the token at `place`
                here, true = logits[place - 1].tolist(), tokens[place]
                right = right and here.index(max(here)) == true
                logs.append(float(logits[place - 1].double().log_softmax(0)[true]))
                leads.append(here[true] - max(value for token, value in enumerate(here) if token != true))
            exact[-1].append(right)
            rest[-1].append([-sum(logs), min(logs), min(leads)])
    return exact, torch.tensor(rest)


def test_scores_equal_one_sequence_at_a_time() -> None:
    case = drawn(n=60)
    scores, (exact, rest) = case.scores(), one_by_one(case)
    assert scores.exact.tolist() == exact and 0 < int(scores.exact.sum()) < scores.exact.numel()
    torch.testing.assert_close(torch.stack(scores[1:], -1), rest, atol=1e-5, rtol=1e-5)


def test_exact_is_exact_match_and_margin_tells_it() -> None:
    case = drawn(members=5, n=200)
    scores = case.scores()
    assert torch.equal(scores.exact, exact_match(*case))
    assert torch.equal(scores.margin > 0, scores.exact) and 0 < int(scores.exact.sum()) < scores.exact.numel()
    assert bool((scores.worst >= -scores.loss).all()) and bool((scores.worst <= 0).all())


@pytest.mark.parametrize("task", TRAINED)
def test_exact_is_greedy_decoding_on_100_prompts(task: str) -> None:
    case = briefly_trained(task)
    exact = case.scores().exact
    for number in range(2):
        own = member(case.weights, number)
        for row in range(100):
            first, length = int(case.first[row]), int(case.lengths[row])
            decoded = case.tokens[row, :first].tolist()
            while decoded[-1] != EOS_ID and len(decoded) < length:
                logits = forward(case.config, own, torch.tensor([decoded]), starts=case.starts[row : row + 1])
                decoded.append(int(logits[0, 0, -1].argmax()))
            assert (decoded == case.tokens[row, :length].tolist()) == bool(exact[number, row]), (number, row)
    assert 5 < int(exact.sum()) < exact.numel() - 5, "both outcomes must occur, or the test says nothing"


def briefly_trained(task: str) -> Case:
    """Two networks after few updates, with 100 prompts of the training lengths."""
    settings, steps = TRAINED[task]
    architecture = {
        "width": 24, "layers": 2, "heads": 1, "feedforward": 24, "positions": "learned", "longest": 30,
        "tied_head": False, "embedding_std": 1.0, "initialisation": "fan_in", "scaled_embedding": False,
    }  # fmt: skip
    result = prompt_population(
        task, settings, [0, 1], 10_000, 8, architecture, {"steps": steps, "learning_rate": 1e-2, "warmup": 10},
        [steps], [2], 5, kept=2,
    )  # fmt: skip
    made = task_of(task, settings)
    given = [torch.from_numpy(part) for part in made.training(numpy_generator(10_001, 0, "prompts"), 100)]
    starts = torch.randint(31 - made.longest_training, (100,), generator=torch_generator(10_001, 0, "starts"))
    config = TransformerConfig(vocabulary=made.vocabulary, **architecture)
    return Case(config, kept_weights(result), given[0], given[1], given[2], starts)


@pytest.mark.parametrize("members", [2, 3, 7])
@pytest.mark.parametrize("n", [1, 5, 37, 64])
def test_a_member_is_scored_as_alone_bit_for_bit(members: int, n: int) -> None:
    case = drawn(members, n)
    together = case.scores()
    for number in range(members):
        alone = case._replace(weights=member(case.weights, number)).scores()
        for name, mine, ours in zip(SequenceScores._fields, alone, together, strict=True):
            assert torch.equal(mine[0], ours[number]), name


def test_passes_padding_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    case = drawn(n=50)
    whole = case.scores()
    monkeypatch.setattr(exact_matches, "CELLS", 17)  # one or two sequences in a pass
    order = torch.randperm(50, generator=torch_generator(10_000, 0, "order"))
    padded = torch.nn.functional.pad(case.tokens, (0, 2), value=5)
    other = Case(*case[:2], padded[order], case.first[order], case.lengths[order], case.starts[order]).scores()
    assert torch.equal(other.exact, whole.exact[:, order])
    for mine, ours in zip(other[1:], whole[1:], strict=True):
        torch.testing.assert_close(mine, ours[:, order], atol=1e-5, rtol=1e-5)


def test_a_shift_of_all_logits_changes_nothing() -> None:
    case = drawn()
    shifted = case._replace(weights=case.weights | {"head.bias": case.weights["head.bias"] - 64})
    for mine, ours in zip(shifted.scores()[1:], case.scores()[1:], strict=True):
        torch.testing.assert_close(mine, ours, atol=1e-4, rtol=1e-4)


def test_starts_matter_and_none_is_row_0() -> None:
    case = drawn()
    none = sequence_scores(*case[:5])
    assert torch.equal(none.loss, case._replace(starts=torch.zeros_like(case.starts)).scores().loss)
    assert not torch.equal(none.loss, case.scores().loss)


def test_the_table_may_end_with_the_last_but_one_token() -> None:
    case = drawn()
    at_the_end = CONFIG.longest - case.lengths + 1  # the last token of a sequence is predicted, never read
    assert bool(case._replace(starts=at_the_end).scores().loss.isfinite().all())
    with pytest.raises(ValueError, match="leave a position table"):
        case._replace(starts=at_the_end + 1).scores()


@pytest.mark.parametrize("function", [sequence_scores, exact_match])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokens": torch.zeros(4, dtype=torch.int64)}, r"tokens \(4,\)"),
        ({"tokens": torch.zeros(4, 5)}, "tokens has dtype torch.float32"),
        ({"first": torch.full((4,), torch.nan)}, "first has dtype"),
        ({"first": torch.ones(4, dtype=torch.bool)}, "first has dtype torch.bool"),
        ({"lengths": torch.full((4,), 5.0)}, "lengths has dtype"),
        ({"first": torch.tensor([2, 2, 2])}, r"first \(3,\)"),
        ({"lengths": torch.tensor([5, 5, 5])}, r"lengths \(3,\)"),
        ({"starts": torch.zeros(5, dtype=torch.int64)}, r"starts \(5,\)"),
        ({"starts": torch.zeros(4)}, "starts has dtype"),
        ({"first": torch.tensor([2, 0, 2, 2])}, "first = 0, lengths = 5 in row 1"),
        ({"first": torch.tensor([2, 2, 5, 2])}, "first = 5, lengths = 5 in row 2"),
        ({"lengths": torch.tensor([5, 5, 5, 6])}, "lengths = 6 in row 3"),
        ({"tokens": torch.full((4, 5), 13)}, "vocabulary has 0 to 12"),
        ({"starts": torch.full((4,), 27)}, "leave a position table"),
    ],
)
def test_what_does_not_fit_is_refused(function: Any, change: dict[str, Tensor], named: str) -> None:
    given = {"tokens": torch.zeros(4, 5, dtype=torch.int64), "first": torch.full((4,), 2),
             "lengths": torch.full((4,), 5), "starts": torch.zeros(4, dtype=torch.int64)}  # fmt: skip
    function(CONFIG, weights_of(1), **given)
    with pytest.raises(ValueError, match=named):
        function(CONFIG, weights_of(1), **given | change)


def test_continuations_at_their_limits_are_accepted() -> None:
    check_continuations(torch.zeros(2, 4, dtype=torch.int32), torch.tensor([1, 3]), torch.tensor([2, 4]))
    assert sequence_scores(CONFIG, weights_of(2), *(torch.zeros(0, 4, dtype=torch.int64), *[torch.zeros(0).long()] * 2)
                           ).exact.shape == (2, 0)  # fmt: skip
