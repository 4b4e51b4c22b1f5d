"""Edges scored by the probabilities that a causal language model gives to words, without sampling.

Three ways to ask, each with one score s per ordered pair (i, j):

    chat, few-shot:  s = log p(Yes) - log p(No) of the very tokens that would come next;
    pmi:             s = mean over tokens of log p(phrase of j | "a direct effect of i is a change in")
                         - the same | "there is a change in".

Scores become beliefs by one number c: p = sigmoid(s + c), with c such that the mean belief over all ordered pairs is
the density of edges that is assumed beforehand. Centred scores, s - mean of its row - mean of its column (all pairs),
have lost most of what the model says of every effect of i, or of every cause of j, alike.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args
from weakref import WeakKeyDictionary

import torch
from scipy.optimize import brentq
from torch import Tensor

from twelvefold.nn.pretrained import LanguageModel
from twelvefold.nn.pretrained_scoring import next_token_log_probabilities, token_log_probabilities
from twelvefold.papers.igda.edge_model import EdgeBeliefs, Result, check_edges
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.prompts import NO, YES, chat_text, effect_texts, few_shot_text, yes_no_messages
from twelvefold.tasks.causal_graphs import CausalGraph

Prompt = Literal["chat", "few-shot", "pmi"]


class EdgeScores(NamedTuple):
    """Scores of E pairs.

    Attributes:
        score: s, in nats `[E]`, float64.
        mass: p(Yes) + p(No) `[E]`, float64, which is low where the model would say neither; None for "pmi".
    """

    score: Tensor
    mass: Tensor | None


def edge_scores(
    language_model: LanguageModel, prompt: Prompt, graph: CausalGraph, edges: Tensor,
    feedback: Sequence[Result] = (), earlier: Tensor | None = None, *, batch_tokens: int = 2048,
) -> EdgeScores:  # fmt: skip
    """Score pairs, in batches and with what their prompts have in common computed once.

    Args:
        language_model: who is asked; "chat" needs a tokenizer with a chat template.
        prompt: how, see above. graph: names and phrases. edges: pairs `[E, 2]`, int64.
        feedback: all results so far. earlier: own beliefs of before `[E]`, for "chat" alone.
        batch_tokens: most positions of one forward pass, see `nn.pretrained_scoring`.

    Raises:
        ValueError: an unknown prompt, pairs that the graph does not have, a tokenizer that cannot serve, or a prompt
            longer than the model's context.
    """
    if prompt not in get_args(Prompt):
        raise ValueError(f"prompt = {prompt!r}; known are {list(get_args(Prompt))}")
    check_edges(edges, graph)
    asked: list[tuple[int, int]] = [(i, j) for i, j in edges.tolist()]
    if not asked:
        return EdgeScores(torch.zeros(0, dtype=torch.float64), None if prompt == "pmi" else torch.zeros(0).double())
    if prompt == "pmi":
        return EdgeScores(_phrase_gains(language_model, graph, asked, feedback, batch_tokens), None)
    before: list[float | None] = [None] * len(asked) if earlier is None else earlier.tolist()
    if prompt == "chat":
        texts = [chat_text(language_model.tokenizer, yes_no_messages(graph, i, j, feedback, own))
                 for (i, j), own in zip(asked, before, strict=True)]  # fmt: skip
        return _yes_no(language_model, texts, (YES, NO), False, batch_tokens)
    texts = [few_shot_text(graph, i, j, feedback) for i, j in asked]
    return _yes_no(language_model, texts, (f" {YES}", f" {NO}"), True, batch_tokens)


def _yes_no(
    language_model: LanguageModel, texts: Sequence[str], words: tuple[str, str], special: bool, batch_tokens: int
) -> EdgeScores:
    """Compare the two words as what comes next; `special`: the tokenizer adds what it begins texts with."""
    prompts = [_tokens(language_model, text, special) for text in texts]
    yes, no = (_next_token(language_model, texts[0], word, special) for word in words)
    if yes == no:
        raise ValueError(f"the tokenizer of {language_model.name} begins {words[0]!r} and {words[1]!r} with the same "
                         f"token {yes}; two different ones are needed")  # fmt: skip
    found = next_token_log_probabilities(language_model.model, [], prompts, [yes, no], batch_tokens=batch_tokens)
    found = found.double()
    return EdgeScores(found[:, 0] - found[:, 1], found.exp().sum(1))


def _next_token(language_model: LanguageModel, text: str, word: str, special: bool) -> int:
    """Number of the first token of a word where it follows a text."""
    start, whole = _tokens(language_model, text, special), _tokens(language_model, text + word, special)
    if whole[: len(start)] != start or len(whole) == len(start):
        raise ValueError(f"the tokenizer of {language_model.name} joins {word!r} to the text before it; an answer "
                         "with tokens of its own is needed")  # fmt: skip
    return whole[len(start)]


def _tokens(language_model: LanguageModel, text: str, special: bool = True) -> list[int]:
    found: list[int] = language_model.tokenizer(text, add_special_tokens=special)["input_ids"]
    return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    unlike = (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(unlike, min(len(one), len(other)))


def _phrase_gains(
    language_model: LanguageModel, graph: CausalGraph, asked: Sequence[tuple[int, int]],
    feedback: Sequence[Result], batch_tokens: int,
) -> Tensor:  # fmt: skip
    """How much likelier the phrase of j becomes by naming i, per token `[E]`, float64."""
    texts = [effect_texts(graph, i, j, feedback) for i, j in asked]
    phrases = [graph.phrases[j] for _, j in asked]
    with_cause = [(named, phrase) for (named, _), phrase in zip(texts, phrases, strict=True)]
    without = [(plain, phrase) for (_, plain), phrase in zip(texts, phrases, strict=True)]
    found = mean_log_probabilities(language_model, {*with_cause, *without}, batch_tokens)
    gains = [found[one] - found[other] for one, other in zip(with_cause, without, strict=True)]
    return torch.tensor(gains, dtype=torch.float64)


def mean_log_probabilities(
    language_model: LanguageModel, wanted: set[tuple[str, str]], batch_tokens: int
) -> dict[tuple[str, str], float]:
    """Mean log p of the tokens of a phrase after a text and a blank, in nats, by (text, phrase).

    A token that holds the end of the text and the beginning of the phrase counts as the phrase's.

    Args:
        language_model: who is asked. wanted: texts and phrases. batch_tokens: see `nn.pretrained_scoring`.

    Raises:
        ValueError: texts longer than the model's context.
    """
    order = sorted(wanted)
    begin = {text: _tokens(language_model, text) for text, _ in order}
    whole = [_tokens(language_model, f"{text} {phrase}") for text, phrase in order]
    first = [_common(begin[text], tokens) for (text, _), tokens in zip(order, whole, strict=True)]
    scores = token_log_probabilities(language_model.model, whole, batch_tokens=batch_tokens, first_scored=first)
    return {key: float(own.double().mean()) for key, own in zip(order, scores, strict=True)}


def score_matrix(
    language_model: LanguageModel, prompt: Prompt, graph: CausalGraph, *, batch_tokens: int = 2048
) -> Tensor:
    """Scores of all pairs before any experiment `[n, n]`, float32, 0 on the diagonal: what is worth recording.

    Arguments and errors as `edge_scores`.
    """
    every = pairs(graph.size)
    scores = torch.zeros(every.shape)
    scores[every] = edge_scores(language_model, prompt, graph, every.nonzero(), batch_tokens=batch_tokens).score.float()
    return scores


def offsets(scores: Tensor, density: float, centred: bool = False) -> Tensor:
    """What is added to each score to make it a logit `[n, n]`, float64: c, if `centred` minus row and column means.

    Args:
        scores: of all pairs `[n, n]`; the diagonal does not count. density: mean belief wanted, between 0 and 1.
        centred: whether what a row or a column has in common is taken out.

    Raises:
        ValueError: a density out of range, scores that are no square matrix of finite numbers.
    """
    if not 0 < density < 1:
        raise ValueError(f"density = {density}; a number between 0 and 1 is needed")
    if scores.ndim != 2 or len(scores) != scores.shape[1] or len(scores) < 2:
        raise ValueError(f"scores has shape {tuple(scores.shape)}; [n, n] with n of at least 2 is needed")
    every, n = pairs(len(scores)), len(scores)
    values = scores.double().cpu().masked_fill(~every, 0.0)
    if not bool(values.isfinite().all()):
        raise ValueError("scores holds numbers that are not finite; a score of every pair is needed")
    added = torch.zeros_like(values)
    if centred:
        added = -values.sum(1, keepdim=True) / (n - 1) - values.sum(0, keepdim=True) / (n - 1)
    return added + _shift((values + added)[every], density)


def _shift(values: Tensor, density: float) -> float:
    """The number c for which the mean of sigmoid(values + c) is the density."""
    middle = math.log(density / (1 - density))
    low, high = middle - float(values.max()), middle - float(values.min())
    if high - low < 1e-12:
        return low
    return float(
        brentq(lambda c: float(torch.sigmoid(values + c).mean()) - density, low - 1e-9, high + 1e-9, xtol=1e-12)
    )


def beliefs_of_scores(scores: Tensor, density: float, centred: bool = False) -> Tensor:
    """Beliefs `[n, n]`, float64, 0 on the diagonal, from scores of all pairs; arguments and errors as `offsets`."""
    logits = scores.double().cpu() + offsets(scores, density, centred)
    return torch.sigmoid(logits).masked_fill(~pairs(len(scores)), 0.0)


@dataclass(frozen=True)
class LogitEdgeModel:
    """An `EdgeModel` that reads beliefs off probabilities of words.

    The offsets between scores and logits come from the scores of all pairs before any experiment, which are computed at
    the first question about a graph and kept; what results add to the prompt may change scores, not offsets.

    Attributes:
        language_model: who is asked. prompt: "chat", "few-shot" or "pmi".
        density: share of pairs that is assumed to be edges. centred: see `offsets`.
        batch_tokens: most positions of one forward pass.
    """

    language_model: LanguageModel
    prompt: Prompt
    density: float
    centred: bool = False
    batch_tokens: int = 2048
    _kept: MutableMapping[CausalGraph, Tensor] = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    def beliefs(
        self, graph: CausalGraph, edges: Tensor, feedback: Sequence[Result], generator: torch.Generator,
        earlier: Tensor | None = None,
    ) -> EdgeBeliefs:  # fmt: skip
        """See `EdgeModel`; nothing is drawn.

        Raises:
            ValueError: as `edge_scores` and `offsets`.
        """
        check_edges(edges, graph)
        scores = self.zero_shot(graph)
        i, j = edges.unbind(1)
        asked = scores[i, j].double()
        if feedback:
            asked = edge_scores(self.language_model, self.prompt, graph, edges, feedback, earlier,
                                batch_tokens=self.batch_tokens).score  # fmt: skip
        return EdgeBeliefs(torch.sigmoid(asked + offsets(scores, self.density, self.centred)[i, j]))

    def zero_shot(self, graph: CausalGraph) -> Tensor:
        """Scores of all pairs before any experiment `[n, n]`, see `score_matrix`."""
        if graph not in self._kept:
            self._kept[graph] = score_matrix(self.language_model, self.prompt, graph, batch_tokens=self.batch_tokens)
        return self._kept[graph]
