"""Log-probabilities that a pretrained causal language model gives to texts, in little memory.

What sequences begin with alike is computed once: a row of a forward pass is a tree of tokens, in which a token sees
those between the root and itself, at the position that its depth is. A row grows to a few hundred tokens, or to a few
times what its sequences share, because attention costs the square of its length. Rows of about the same length share a
pass. Logits exist for some dozens of positions at a time, and only for positions whose prediction is asked for.

`model` is a causal language model of `transformers` in evaluation mode (`LanguageModel.model`). One that cannot take
trees (found out once for each model) gets rows of one sequence, padded on the right, where no token sees the padding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

_LOGITS = 2**23  # numbers of one block of logits [positions, V]: 34 MB in float32
_ROW = 256  # tokens of a row that sequences may share whatever they have in common
_TOLERANCE = 1e-3  # of the largest number: a model's own logits against ours (30 x in 16 bits)
_WINDOWS = ("sliding_window", "attention_chunk_size")  # what configurations call how far back tokens see
Tokens = Sequence[int]
_trees: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # models that were checked: whether they take trees


class _Row(NamedTuple):
    """A tree of U tokens: their numbers and depths; of each sequence, its place in the caller's list and its nodes."""

    tokens: list[int]
    depths: list[int]
    paths: list[tuple[int, list[int]]]


def token_log_probabilities(
    model: Any, sequences: Sequence[Tokens], *, batch_tokens: int = 2048, first_scored: Sequence[int] | None = None
) -> list[Tensor]:
    """Return log p(x_t | x_1, ..., x_{t-1}) for t = 2, ..., n of each sequence, in nats.

    The first token is not predicted. Bits per byte: minus the sum over all tokens, divided by ln 2 and by the number of
    bytes that the predicted tokens stand for.

    Args:
        sequences: token numbers, at least two in each.
        batch_tokens: most positions of one forward pass, padding included (one row may be longer).
        first_scored: index within each sequence of the first token whose score is asked for; by default 1.

    Returns:
        float32 `[n - first_scored]` for each sequence, on the CPU, in the order given.

    Raises:
        ValueError: no or too short sequences, token numbers that the model does not have, more than its context, a
            `first_scored` that does not fit, or a model that changes its logits after the output matrix.
    """
    _check_model(model)
    _check_sequences("sequences", sequences, 2, model, 0)
    _check_batch_tokens(batch_tokens)
    return _scored(model, sequences, _checked_firsts(first_scored, sequences, 1), batch_tokens)


def score_continuations(
    model: Any, prefix_ids: Tokens, continuations: Sequence[Tokens], *, batch_tokens: int = 2048,
    first_scored: Sequence[int] | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return the log-probability of each token of each continuation of one prompt, in nats.

    The sum of a result is the log-probability of the continuation. A continuation may begin with more of the prompt,
    which `first_scored` leaves out of the scores: continuation = rest of the prompt + answer.

    Args:
        prefix_ids: what all continuations follow, at least one token.
        continuations: token numbers, at least one in each.
        batch_tokens: as `token_log_probabilities`.
        first_scored: index within each continuation of the first token whose score is asked for; by default 0.

    Returns:
        float32 `[length - first_scored]` for each continuation, on the CPU, in the order given.

    Raises:
        ValueError: as `token_log_probabilities`.
    """
    _check_model(model)
    _check_sequences("prefix_ids", [prefix_ids], 1, model, 0)
    _check_sequences("continuations", continuations, 1, model, len(prefix_ids))
    _check_batch_tokens(batch_tokens)
    firsts = [len(prefix_ids) + first for first in _checked_firsts(first_scored, continuations, 0)]
    return _scored(model, [[*prefix_ids, *continuation] for continuation in continuations], firsts, batch_tokens)


def next_token_log_probabilities(
    model: Any, prefix_ids: Tokens, prompts: Sequence[Tokens], candidates: Tokens, *, batch_tokens: int = 2048
) -> Tensor:
    """Return log p(candidate | prefix, prompt) for the token that follows each prompt, in nats.

    Args:
        prefix_ids: what all prompts begin with; may be empty (what prompts share is found in any case).
        prompts: the rest of each prompt, at least one token.
        candidates: k token numbers whose probabilities are wanted, e.g. those of " yes" and " no".
        batch_tokens: as `token_log_probabilities`.

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
    sequences = [[*prefix_ids, *prompt] for prompt in prompts]
    targets = torch.as_tensor(list(candidates))[None]  # [1, k]
    starts = [len(tokens) - 1 for tokens in sequences]
    return torch.cat(_answered(model, sequences, starts, [targets] * len(sequences), batch_tokens))


def _scored(model: Any, sequences: Sequence[Tokens], firsts: Sequence[int], size: int) -> list[Tensor]:
    """Log-probabilities of tokens firsts[i], firsts[i] + 1, ... of each sequence."""
    targets = [torch.as_tensor(list(tokens[first:]))[:, None] for tokens, first in zip(sequences, firsts, strict=True)]
    # nobody asks what follows the last token, so it is never read
    made = _answered(model, [tokens[:-1] for tokens in sequences], [first - 1 for first in firsts], targets, size)
    return [found[:, 0] for found in made]


@torch.no_grad()
def _answered(
    model: Any, sequences: Sequence[Tokens], starts: Sequence[int], targets: Sequence[Tensor], size: int
) -> list[Tensor]:
    """Log-probabilities `[n, k]` of the k targets `[n, k]` after each of the tokens starts[i], ... of each sequence."""
    results: list[Tensor] = [torch.empty(0)] * len(sequences)
    read = [[int(token) for token in tokens] for tokens in sequences]
    limit = min(size, _longest_tree(model, max(map(len, read))))
    for rows in _batches(_rows(read, limit), size):
        states = _states(model, rows)  # [B, U, d]
        nodes = {place: [b * states.shape[1] + node for node in path[starts[place] :]]
                 for b, row in enumerate(rows) for place, path in row.paths}  # fmt: skip
        flat = torch.tensor([node for path in nodes.values() for node in path])  # [N]
        scores = _gathered(model, states.flatten(0, 1), flat, torch.cat([targets[place] for place in nodes]))  # [N, k]
        for place, own in zip(nodes, scores.split([len(path) for path in nodes.values()]), strict=True):
            results[place] = own.clone()
    return results


def _gathered(model: Any, states: Tensor, flat: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of targets `[N, k]` after states[flat]; the output matrix meets each state at most once."""
    head = model.get_output_embeddings()
    nodes, index = flat.unique(return_inverse=True)
    scores = torch.empty(targets.shape)
    size = max(1, _LOGITS // head.weight.shape[0])
    for start in range(0, len(nodes), size):
        block = head(states[nodes[start : start + size].to(states.device)]).float().log_softmax(-1)  # [n, V]
        here = ((index >= start) & (index < start + size)).nonzero()[:, 0]
        scores[here] = block[(index[here] - start)[:, None].to(block.device), targets[here].to(block.device)].cpu()
    return scores


def _rows(sequences: Sequence[list[int]], limit: int) -> list[_Row]:
    """Lay sequences, in the order of words, into rows that share up to `limit` nodes."""
    rows: list[_Row] = []
    before: list[int] = []
    for place in sorted(range(len(sequences)), key=sequences.__getitem__):
        tokens = sequences[place]
        shared = next((k for k, (a, b) in enumerate(zip(before, tokens, strict=False)) if a != b),
                      min(len(before), len(tokens)))  # fmt: skip
        if not rows or len(rows[-1].tokens) + len(tokens) - shared > min(limit, max(_ROW, 3 * shared)):
            rows.append(_Row([], [], []))
            shared = 0
        row = rows[-1]
        start = row.paths[-1][1][:shared] if shared else []
        row.paths.append((place, [*start, *range(len(row.tokens), len(row.tokens) + len(tokens) - shared)]))
        row.tokens.extend(tokens[shared:])
        row.depths.extend(range(shared, len(tokens)))
        before = tokens
    return rows


def _batches(rows: Sequence[_Row], size: int) -> Iterator[list[_Row]]:
    """Cut rows, longest first, into batches of at most `size` positions with padding (one row may be longer)."""
    rows = sorted(rows, key=lambda row: -len(row.tokens))
    while rows:
        count = max(1, size // len(rows[0].tokens))
        yield rows[:count]
        rows = rows[count:]


def _states(model: Any, rows: Sequence[_Row]) -> Tensor:
    """States `[B, U, d]` before the output matrix, of the nodes of rows."""
    longest = max(len(row.tokens) for row in rows)
    more: dict[str, Tensor] = {}
    if any(len(row.paths) > 1 for row in rows):
        unseen = ~_visible(rows, longest)[:, None].to(model.device)  # [B, 1, U, U]
        mask = torch.zeros(unseen.shape, dtype=model.dtype, device=model.device)
        more["attention_mask"] = mask.masked_fill_(unseen, torch.finfo(model.dtype).min)
        more["position_ids"] = _padded([row.depths for row in rows], longest).to(model.device)
    tokens = _padded([row.tokens for row in rows], longest).to(model.device)  # [B, U]
    return model.base_model(input_ids=tokens, use_cache=False, **more).last_hidden_state


def _padded(rows: Sequence[list[int]], longest: int) -> Tensor:
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def _visible(rows: Sequence[_Row], longest: int) -> Tensor:
    """Whether the first node sees the second `[B, U, U]`: itself, and what is on its way from the root."""
    sees = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)
    for b, row in enumerate(rows):
        used = 0
        for _, path in row.paths:
            fresh = sum(node >= used for node in path)
            ones = torch.ones(fresh, len(path), dtype=torch.bool)
            sees[b, used : used + fresh, path] = ones.tril(len(path) - fresh)
            used += fresh
    return sees


@torch.no_grad()
def _check_model(model: Any) -> None:
    """Refuse a model in training mode, and one that changes its logits after the output matrix (some cap or scale)."""
    name = type(model).__name__
    if model.training:
        raise ValueError(f"model {name} is in training mode; call model.eval() first")
    if model in _trees:
        return
    if model.get_output_embeddings() is None:
        raise ValueError(f"model {name} has no output matrix; a causal language model is needed")
    own = model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False).logits
    error = _difference(model.get_output_embeddings()(_states(model, _rows([[0]], 0))), own)
    if not error <= _tolerance(model):
        raise ValueError(f"model {name}: its logits differ from states times output matrix by {error:.2g} of "
                         "the largest; a model that changes neither is needed")  # fmt: skip
    _trees[model] = _same_in_a_tree(model)


def _same_in_a_tree(model: Any) -> bool:
    """Whether a token at the end of a branch has the state that it has in a row of its own."""
    last = model.get_input_embeddings().weight.shape[0] - 1
    branches = [[0, 0, 0, 0, 0, last], [0, last, 0, 0]]
    try:
        together = _states(model, _rows(branches, 99))[0, -1]
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False  # it knows no such masks or positions
    return _difference(together, _states(model, _rows(branches[1:], 0))[0, -1]) <= _tolerance(model)


def _longest_tree(model: Any, longest: int) -> int:
    """Most nodes of a row that sequences share; 0 if a token of the longest sequence may not see its beginning."""
    windows = [getattr(model.config, name, None) for name in _WINDOWS]
    if not _trees[model] or any(window is not None and window < longest for window in windows):
        return 0
    return getattr(model.config, "max_position_embeddings", None) or sys.maxsize


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max() / other.float().abs().max())


def _tolerance(model: Any) -> float:
    return _TOLERANCE if model.dtype in (torch.float32, torch.float64) else 30 * _TOLERANCE


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


def _checked_firsts(first_scored: Sequence[int] | None, sequences: Sequence[Tokens], least: int) -> Sequence[int]:
    if first_scored is None:
        return [least] * len(sequences)
    if len(first_scored) != len(sequences):
        raise ValueError(f"first_scored has {len(first_scored)} entries; one for each of the {len(sequences)} "
                         "sequences is needed")  # fmt: skip
    for place, (first, tokens) in enumerate(zip(first_scored, sequences, strict=True)):
        if not least <= first < len(tokens):
            raise ValueError(f"first_scored[{place}] = {first}; {least} to {len(tokens) - 1} is accepted")
    return first_scored
