"""Edges judged by a chat model that is asked K times for an answer and its confidence, or which edges to test.

Sample k gives a label l_k and a stated confidence q_k in it; the belief is the mean of q_k for yes and 1 - q_k for no.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.igda.beliefs import belief_of_samples
from twelvefold.papers.igda.chat_backends import ChatBackend, Sampling
from twelvefold.papers.igda.chat_choice import read_choice
from twelvefold.papers.igda.edge_model import EdgeBeliefs, Result, check_edges
from twelvefold.papers.igda.prompts import chat_messages, choice_messages
from twelvefold.tasks.causal_graphs import CausalGraph

_ANSWER = re.compile(r"""\banswer["']?\s{0,9}(?:[:=]|is)\s{0,9}["']?(yes|no)\b""", re.IGNORECASE)
_CONFIDENCE = re.compile(
    r"""\bconfidence["']?\s{0,9}(?:[:=]|is|of)\s{0,9}["']?(\d{1,9}(?:\.\d{1,9})?)""", re.IGNORECASE
)


class Answer(NamedTuple):
    """One answer: whether the edge is said to be there, and the confidence in that, in [0, 1]."""

    present: bool
    confidence: float


def parse_answer(text: str) -> Answer | None:
    """Read an answer: strictly as JSON, else by the last "answer" and "confidence" in it; None where it says neither.

    A confidence above 0 and up to 1 is not read: it may be meant from 0 to 1 or from 0 to 100.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        answer, confidence = found.get("answer"), found.get("confidence")
        if isinstance(answer, str) and isinstance(confidence, int | float) and not isinstance(confidence, bool):
            return _answer(answer, confidence)
    answers, confidences = _ANSWER.findall(text), _CONFIDENCE.findall(text)
    return _answer(answers[-1], float(confidences[-1])) if answers and confidences else None


def _answer(answer: str, confidence: float) -> Answer | None:
    said = {"yes": True, "no": False}.get(answer.strip().lower())
    if said is None or not (confidence == 0 or 1 < confidence <= 100):
        return None
    return Answer(said, confidence / 100)


@dataclass(frozen=True)
class ChatEdgeModel:
    """An `EdgeModel`, and an `EdgeChooser`, that asks a chat model.

    Attributes:
        backend: who answers.
        density: belief in an edge about which no answer can be read.
        samples: K answers to each question. temperature, max_tokens: see `Sampling`.
        pair_tokens: an answer that names pairs may be longer than `max_tokens`: so many tokens for each pair.
        dropped: pairs named in vain so far, by reason, see `chat_choice.Choice`.
    """

    backend: ChatBackend
    density: float
    samples: int = 16
    temperature: float = 1.0
    max_tokens: int = 150
    pair_tokens: int = 30
    dropped: Counter[str] = field(default_factory=Counter, init=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.samples, self.pair_tokens) < 1 or not 0 < self.density < 1:
            raise ValueError(f"samples = {self.samples}, pair_tokens = {self.pair_tokens}, density = {self.density}; "
                             "at least 1, at least 1, and a number between 0 and 1 are needed")  # fmt: skip
        Sampling(self.temperature, self.max_tokens)

    def beliefs(
        self, graph: CausalGraph, edges: Tensor, feedback: Sequence[Result], generator: torch.Generator,
        earlier: Tensor | None = None,
    ) -> EdgeBeliefs:  # fmt: skip
        """See `EdgeModel`; one number is drawn, the base seed of the samples.

        Raises:
            ValueError: pairs that the graph does not have. ChatError: the chat model does not answer.
        """
        check_edges(edges, graph)
        seed = int(torch.randint(2**31, (), generator=generator))
        before: list[float | None] = [None] * len(edges) if earlier is None else earlier.tolist()
        asked = [chat_messages(graph, i, j, feedback, own) for (i, j), own in zip(edges.tolist(), before, strict=True)]
        texts = self.backend.complete(asked, self.samples, seed, Sampling(self.temperature, self.max_tokens))
        read = [[parse_answer(text) for text in own] for own in texts]
        table = [
            [(torch.nan, torch.nan) if a is None else (float(a.present), a.confidence) for a in own] for own in read
        ]
        samples = torch.tensor(table, dtype=torch.float64).view(len(edges), self.samples, 2)
        beliefs = torch.stack([self._belief(own) for own in samples]) if len(edges) else samples.new_zeros(0)
        return EdgeBeliefs(beliefs, samples, int(samples[..., 0].isnan().sum()))

    def choose(self, graph: CausalGraph, count: int, feedback: Sequence[Result], generator: torch.Generator) -> Tensor:
        """See `EdgeChooser`; one answer is sampled, for whose seed one number is drawn.

        What the answer names and cannot be tested is dropped and counted in `dropped`.

        Raises:
            ValueError: fewer than one pair wanted. ChatError: the chat model does not answer.
        """
        if count < 1:
            raise ValueError(f"count = {count}; at least one pair is needed")
        seed = int(torch.randint(2**31, (), generator=generator))
        sampling = Sampling(self.temperature, max(self.max_tokens, count * self.pair_tokens))
        ((text,),) = self.backend.complete([choice_messages(graph, count, feedback)], 1, seed, sampling)
        choice = read_choice(text, graph.variables, count, feedback)
        self.dropped.update(choice.dropped)
        return torch.tensor(choice.pairs, dtype=torch.int64).view(-1, 2)

    def _belief(self, samples: Tensor) -> Tensor:
        """Belief from answers `[K, 2]`, those that could not be read left out."""
        read = samples[~samples[:, 0].isnan()]
        if not len(read):
            return torch.tensor(self.density, dtype=torch.float64)
        return belief_of_samples(read[:, 0] == 1, read[:, 1])
