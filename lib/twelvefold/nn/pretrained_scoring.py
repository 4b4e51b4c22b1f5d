"""Log-probabilities that a pretrained causal language model gives to texts, in little memory.

Sequences are sorted by length and padded on the right: with causal attention no token sees what comes after it, so
padding changes nothing and needs no mask. Logits exist for a few dozen positions at a time, and only for positions
whose prediction is asked for. What many sequences begin with is computed once (a shared-prefix KV cache).

`model` is a causal language model of `transformers` in evaluation mode (`LanguageModel.model`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_LOGITS = 2**22  # numbers of one block of logits [positions, V]: 17 MB in float32
_TOLERANCE = 1e-3  # of the largest logit: a model's own logits against states times output matrix (30 x in 16 bits)
Tokens = Sequence[int]


class _Batch(NamedTuple):
    """Sequences of one forward pass: their places in the caller's list, tokens `[B, T]`, and lengths `[B]`."""

    places: list[int]
    tokens: Tensor
    lengths: Tensor


def token_log_probabilities(model: Any, sequences: Sequence[Tokens], *, batch_tokens: int = 2048) -> list[Tensor]:
    """Return log p(x_t | x_1, ..., x_{t-1}) for t = 2, ..., n of each sequence, in nats.

    The first token is not predicted. Bits per byte: minus the sum over all tokens, divided by ln 2 and by the number of
    bytes that the predicted tokens stand for.

    Args:
        sequences: token numbers, at least two in each.
        batch_tokens: most positions of one forward pass, padding included (one sequence may be longer).

    Returns:
        float32 `[n - 1]` for each sequence, on the CPU, in the order given.

    Raises:
        ValueError: no or too short sequences, token numbers that the model does not have, a sequence longer than the
            model's context, or a model that changes its logits after the output matrix.
    """
    _check_model(model)
    _check_sequences("sequences", sequences, 2, model, 0)
    _check_batch_tokens(batch_tokens)
    firsts = [1] * len(sequences)
    return _scored(model, sequences, firsts, None, batch_tokens)


def score_continuations(
    model: Any, prefix_ids: Tokens, continuations: Sequence[Tokens], *, batch_tokens: int = 2048,
    first_scored: Sequence[int] | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return the log-probability of each token of each continuation of one prompt, in nats.

    The sum of a result is the log-probability of the continuation. A continuation may begin with more of the prompt,
    which `first_scored` leaves out of the scores: continuation = rest of the prompt + answer.

    Args:
        prefix_ids: what all continuations follow, at least one token; computed once.
        continuations: token numbers, at least one in each.
        batch_tokens: most positions of one forward pass, prefix and padding included (one sequence may be longer).
        first_scored: index within each continuation of the first token whose score is asked for; by default 0.

    Returns:
        float32 `[length - first_scored]` for each continuation, on the CPU, in the order given.

    Raises:
        ValueError: as `token_log_probabilities`, and a `first_scored` that does not fit.
    """
    _check_model(model)
    _check_sequences("prefix_ids", [prefix_ids], 1, model, 0)
    _check_sequences("continuations", continuations, 1, model, len(prefix_ids))
    _check_batch_tokens(batch_tokens)
    firsts = _checked_firsts(first_scored, continuations)
    # the last token of the prefix predicts the first of the continuation, so it goes with the continuations
    sequences = [[prefix_ids[-1], *continuation] for continuation in continuations]
    return _scored(model, sequences, [1 + first for first in firsts], _cached(model, prefix_ids[:-1]), batch_tokens)


@torch.no_grad()
def next_token_log_probabilities(
    model: Any, prefix_ids: Tokens, prompts: Sequence[Tokens], candidates: Tokens, *, batch_tokens: int = 2048
) -> Tensor:
    """Return log p(candidate | prefix, prompt) for the token that follows each prompt, in nats.

    Args:
        prefix_ids: what all prompts begin with; may be empty.
        prompts: the rest of each prompt, at least one token.
        candidates: k token numbers whose probabilities are wanted, e.g. those of " yes" and " no".
        batch_tokens: most positions of one forward pass, prefix and padding included.

    Returns:
        float32 `[len(prompts), k]` on the CPU; normalised over the whole vocabulary, not over the candidates.

    Raises:
        ValueError: as `token_log_probabilities`, or no candidates.
    """
    _check_model(model)
    if len(prefix_ids):
        _check_sequences("prefix_ids", [prefix_ids], 1, model, 0)
    _check_sequences("prompts", prompts, 1, model, len(prefix_ids))
    _check_sequences("candidates", [candidates], 1, model, None)
    _check_batch_tokens(batch_tokens)
    cache, chosen = _cached(model, prefix_ids), torch.as_tensor(list(candidates), device=model.device)
    found = torch.empty(len(prompts), len(candidates))
    for batch in _batches(prompts, len(prefix_ids), batch_tokens):
        states = _states(model, batch.tokens, cache)  # [B, T, d]
        rows = torch.arange(len(states), device=states.device)
        last = states[rows, batch.lengths.to(states.device) - 1]  # [B, d]
        for part, block in _blocks(model, last):
            found[[batch.places[i] for i in range(part.start, part.stop)]] = block[:, chosen].cpu()
    return found


@torch.no_grad()
def _scored(model: Any, sequences: Sequence[Tokens], firsts: Sequence[int], cache: Any, size: int) -> list[Tensor]:
    """Log-probabilities of tokens firsts[i], firsts[i] + 1, ... of each sequence, which follows the cached prefix."""
    results: list[Tensor] = [torch.empty(0)] * len(sequences)
    for batch in _batches(sequences, _length(cache), size):
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]
        first = torch.tensor([firsts[place] for place in batch.places])
        position = torch.arange(1, batch.tokens.shape[1])
        wanted = (position >= first[:, None]) & (position < batch.lengths[:, None])  # [B, T - 1]
        states = _states(model, inputs, cache)[wanted.to(model.device)]  # [N, d]
        asked = targets[wanted].to(model.device)  # [N]
        scores = torch.empty(len(states))
        for part, block in _blocks(model, states):
            scores[part] = block.gather(1, asked[part, None])[:, 0].cpu()
        for place, own in zip(batch.places, scores.split(wanted.sum(1).tolist()), strict=True):
            results[place] = own.clone()
    return results


def _batches(sequences: Sequence[Tokens], prefix: int, size: int) -> Iterator[_Batch]:
    """Cut the sequences, longest first, into batches of at most `size` positions with the prefix and the padding."""
    order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), i))
    while order:
        longest = len(sequences[order[0]])
        places = order[: max(1, size // (prefix + longest))]
        order = order[len(places) :]
        tokens = torch.zeros(len(places), longest, dtype=torch.long)
        for row, place in enumerate(places):
            tokens[row, : len(sequences[place])] = torch.as_tensor(list(sequences[place]))
        yield _Batch(places, tokens, torch.tensor([len(sequences[place]) for place in places]))


@torch.no_grad()
def _cached(model: Any, prefix: Tokens) -> Any:
    """Keys and values of the prefix, one row; None for an empty one."""
    if not len(prefix):
        return None
    tokens = torch.as_tensor(list(prefix), device=model.device)[None]
    return model.base_model(input_ids=tokens, use_cache=True).past_key_values


def _length(cache: Any) -> int:
    return 0 if cache is None else int(cache.get_seq_length())


@torch.no_grad()
def _states(model: Any, tokens: Tensor, cache: Any) -> Tensor:
    """States `[B, T, d]` before the output matrix of tokens `[B, T]` that follow the cached prefix."""
    if cache is None:
        return model.base_model(input_ids=tokens.to(model.device), use_cache=False).last_hidden_state
    own = copy.deepcopy(cache)  # the forward pass appends to it
    own.batch_repeat_interleave(len(tokens))
    made = model.base_model(input_ids=tokens.to(model.device), past_key_values=own, use_cache=True)
    return made.last_hidden_state


def _blocks(model: Any, states: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Log-probabilities `[n, V]` of the tokens that follow states `[N, d]`, for some of them at a time."""
    head = model.get_output_embeddings()
    size = max(1, _LOGITS // head.weight.shape[0])
    for start in range(0, len(states), size):
        part = slice(start, min(start + size, len(states)))
        yield part, head(states[part]).float().log_softmax(-1)


@torch.no_grad()
def _check_model(model: Any) -> None:
    """Refuse a model in training mode, and one that changes its logits after the output matrix (some cap or scale)."""
    name = type(model).__name__
    if model.training:
        raise ValueError(f"model {name} is in training mode; call model.eval() first")
    if model.get_output_embeddings() is None:
        raise ValueError(f"model {name} has no output matrix; a causal language model is needed")
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    own = model(input_ids=token, use_cache=False).logits.float()
    error = (model.get_output_embeddings()(_states(model, token, None)).float() - own).abs().max() / own.abs().max()
    if not error <= (_TOLERANCE if model.dtype in (torch.float32, torch.float64) else 30 * _TOLERANCE):
        raise ValueError(f"model {name}: its logits differ from states times output matrix by {float(error):.2g} of "
                         "the largest; a model that changes neither is needed")  # fmt: skip


def _check_sequences(name: str, sequences: Sequence[Tokens], least: int, model: Any, before: int | None) -> None:
    """Refuse sequences that are too short, too long after `before` tokens (None: no matter), or hold other tokens."""
    if not len(sequences):
        raise ValueError(f"{name} is empty; at least one sequence is needed")
    size = model.get_input_embeddings().weight.shape[0]
    context = getattr(model.config, "max_position_embeddings", None)
    for place, tokens in enumerate(sequences):
        where = name if len(sequences) == 1 else f"{name}[{place}]"
        if len(tokens) < least:
            raise ValueError(f"{where} has too few tokens: {len(tokens)}, at least needed: {least}")
        wrong = [token for token in tokens if not 0 <= token < size]
        if wrong:
            raise ValueError(f"{where} holds token {wrong[0]}; the model has tokens 0 to {size - 1}")
        if before is not None and context is not None and before + len(tokens) > context:
            raise ValueError(f"{where} has {before + len(tokens)} tokens with what precedes them; the model reads at "
                             f"most {context}")  # fmt: skip


def _check_batch_tokens(batch_tokens: int) -> None:
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens = {batch_tokens}; at least 1 is needed")


def _checked_firsts(first_scored: Sequence[int] | None, continuations: Sequence[Tokens]) -> Sequence[int]:
    if first_scored is None:
        return [0] * len(continuations)
    if len(first_scored) != len(continuations):
        raise ValueError(f"first_scored has {len(first_scored)} entries; one for each of the {len(continuations)} "
                         "continuations is needed")  # fmt: skip
    for place, (first, tokens) in enumerate(zip(first_scored, continuations, strict=True)):
        if not 0 <= first < len(tokens):
            raise ValueError(f"first_scored[{place}] = {first}; 0 to {len(tokens) - 1} is accepted")
    return first_scored
