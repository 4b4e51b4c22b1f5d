"""Chat models that answer in words: what every one of them can be asked, and a model of `transformers` that does.

An answer has a place: sample k of a conversation. Its seed follows from base seed, conversation and k alone, so an
answer does not depend on what else is asked, nor on where an interrupted run was taken up again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from twelvefold.core.seeds import seed_sequence
from twelvefold.nn.cumulative_sums import cumulative_sums
from twelvefold.nn.pretrained import LanguageModel
from twelvefold.papers.igda.prompts import Messages, chat_text


class ChatError(RuntimeError):
    """A chat model did not answer; the message says what to do. Answers that came before are not lost."""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn.

    Attributes:
        temperature: 0 takes the likeliest token always. max_tokens: longest answer.
    """

    temperature: float = 1.0
    max_tokens: int = 150

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf") or self.max_tokens < 1:
            raise ValueError(f"{self}; a finite temperature of at least 0 and at least 1 token are needed")


class Question(NamedTuple):
    """One answer that is wanted: sample number `sample` of a conversation, drawn with `seed` (31 bits)."""

    messages: Messages
    sample: int
    seed: int


class ChatBackend(Protocol):
    """A chat model. What inherits from it writes `identity` and `answers`, and has `complete`."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Whatever decides on answers beside question and sampling, the "model" first; recorded answers carry it."""

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        """Answers as they come: place of the question, text.

        Raises:
            ChatError: after all answers that there are have been given.
        """

    def complete(
        self, conversations: Sequence[Messages], n: int, seed: int, sampling: Sampling | None = None
    ) -> list[list[str]]:
        """Draw n answers to each conversation.

        Args:
            conversations: each ends with a message of the user. n: samples of each. seed: base seed.
            sampling: how; None: the defaults of `Sampling`.

        Returns:
            n texts for each conversation.

        Raises:
            ValueError: fewer than one sample, or a conversation that is none. ChatError: an answer is missing.
        """
        if n < 1:
            raise ValueError(f"n = {n}; at least one sample is needed")
        for messages in conversations:
            _check_messages(messages)
        asked = [Question(messages, k, seed_of(seed, messages, k)) for messages in conversations for k in range(n)]
        found = dict(self.answers(asked, sampling or Sampling()))
        if len(found) != len(asked):
            raise ChatError(f"{self.identity.get('model')} gave {len(found)} of {len(asked)} answers")
        return [[found[place * n + k] for k in range(n)] for place in range(len(conversations))]


def seed_of(seed: int, messages: Messages, sample: int) -> int:
    """Seed of one sample of a conversation, from 0 to 2^31 - 1 (what endpoints take).

    Raises:
        ValueError: a negative seed or sample.
    """
    return int(seed_sequence(seed, sample, json.dumps([dict(m) for m in messages])).generate_state(1)[0]) >> 1


def same_conversation(questions: Sequence[Question], most: int | None = None) -> list[list[int]]:
    """Places of questions of the same conversation in groups of at most `most`, in order of appearance."""
    groups: dict[str, list[list[int]]] = {}
    for place, question in enumerate(questions):
        own = groups.setdefault(json.dumps([dict(m) for m in question.messages]), [[]])
        if most is not None and len(own[-1]) == most:
            own.append([])
        own[-1].append(place)
    return [group for own in groups.values() for group in own]


def _check_messages(messages: Messages) -> None:
    wrong = [m for m in messages if {*m} != {"role", "content"} or not all(isinstance(v, str) for v in m.values())]
    if not messages or wrong or messages[-1]["role"] != "user":
        raise ValueError(f"conversation {list(messages)!r:.200}; messages with the texts role and content, the last "
                         "one of the user, are needed")  # fmt: skip


@dataclass(frozen=True)
class TransformersChat(ChatBackend):
    """A causal language model of `transformers` with a chat template; the samples of a conversation share its cache.

    Attributes:
        language_model: who answers.
        name: what its answers are recorded under, with its dtype behind it; None: what it was loaded by, which may be
            a path that other machines do not have.
    """

    language_model: LanguageModel
    name: str | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        dtype = str(self.language_model.model.dtype).removeprefix("torch.")
        return {"model": f"{self.name or self.language_model.name} ({dtype})"}

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        tokenizer = self.language_model.tokenizer
        for places in same_conversation(questions):
            text = chat_text(tokenizer, questions[places[0]].messages)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            made = sample_tokens(self.language_model, prompt, [questions[p].seed for p in places], sampling)
            yield from ((p, tokenizer.decode(tokens, skip_special_tokens=True))
                        for p, tokens in zip(places, made, strict=True))  # fmt: skip


@torch.no_grad()
def sample_tokens(
    language_model: LanguageModel, prompt: Sequence[int], seeds: Sequence[int], sampling: Sampling
) -> list[list[int]]:
    """Draw one continuation of a prompt for each seed, up to a token that ends answers, which is left out.

    Each seed draws one uniform number per token, and the token where the cumulated probabilities pass it; a sample is
    what it would be alone.

    Raises:
        ValueError: no seed, an empty prompt, or one that leaves no room for `max_tokens` in the model's context.
    """
    model = language_model.model
    context = getattr(model.config, "max_position_embeddings", None)
    if not seeds or not prompt or (context is not None and len(prompt) + sampling.max_tokens > context):
        raise ValueError(f"prompt has {len(prompt)} tokens, max_tokens = {sampling.max_tokens}, {len(seeds)} seeds; at "
                         f"least one token and one seed, and together at most {context} tokens are needed")  # fmt: skip
    draws = torch.stack([torch.rand(sampling.max_tokens, generator=torch.Generator().manual_seed(seed),
                                    dtype=torch.float64) for seed in seeds]).to(model.device)  # fmt: skip
    keep = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    made = model(input_ids=torch.tensor([list(prompt)], device=model.device), use_cache=True, **keep)
    cache, logits = made.past_key_values, made.logits[:, -1].expand(len(seeds), -1)
    cache.batch_repeat_interleave(len(seeds))
    ends = torch.tensor(_ends(language_model), device=model.device)
    tokens, going = [], torch.ones(len(seeds), dtype=torch.bool, device=model.device)
    for step in range(sampling.max_tokens):
        tokens.append(_drawn(logits.double(), draws[:, step], sampling.temperature))
        going &= ~torch.isin(tokens[-1], ends)
        if step + 1 == sampling.max_tokens or not bool(going.any()):
            break
        logits = model(input_ids=tokens[-1][:, None], past_key_values=cache, use_cache=True).logits[:, -1]
    stop = {*ends.tolist()}
    return [_until(row, stop) for row in torch.stack(tokens, 1).tolist()]


def _drawn(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One token of each row `[K]` from logits `[K, V]` and numbers in [0, 1) `[K]`."""
    if temperature == 0:
        return logits.argmax(1)
    total = cumulative_sums((logits / temperature).softmax(1))
    # right: a token of probability 0 is never taken, not even for the number 0
    return torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def _ends(language_model: LanguageModel) -> list[int]:
    """Tokens that end an answer."""
    settings = getattr(language_model.model, "generation_config", None)
    found = (getattr(settings, "eos_token_id", None), language_model.tokenizer.eos_token_id)
    return sorted({token for own in found if own is not None for token in (own if isinstance(own, list) else [own])})


def _until(tokens: list[int], ends: set[int]) -> list[int]:
    return tokens[: next((k for k, token in enumerate(tokens) if token in ends), len(tokens))]
