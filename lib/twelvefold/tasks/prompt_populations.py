"""Populations of transformers trained on a task of prompts and continuations, and how well each continues longer ones.

The sweep function `prompt_population` lives here under the task's name, so that every study that asks for the same
population reads the same cache entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.sequence_scores import sequence_scores
from twelvefold.nn.transformer import Weights, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batch, Recipe, train
from twelvefold.tasks.counting import Counting
from twelvefold.tasks.examples import Examples, PromptTask, whole_number
from twelvefold.tasks.hinted_addition import HintedAddition
from twelvefold.tasks.kept_weights import as_kept
from twelvefold.tasks.string_copying import StringCopying

_KINDS: dict[str, Callable[..., PromptTask]] = {
    "copying": StringCopying, "counting": Counting, "addition": HintedAddition,
}  # fmt: skip
TASKS = tuple(_KINDS)
_BLOCK = 64  # updates whose examples are drawn at a time: one generator call serves many small batches


def task_of(task: str, settings: Mapping[str, Any]) -> PromptTask:
    """The task that a name and a dict of settings describe; ValueError for an unknown name or impossible settings."""
    if task not in _KINDS:
        raise ValueError(f"task = {task!r}; known are {list(_KINDS)}")
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings = {settings!r}; a dict of arguments of the task {task!r} is needed")
    try:
        return _KINDS[task](**settings)
    except TypeError as error:
        raise ValueError(f"settings = {dict(settings)!r} do not describe the task {task!r}: {error}") from error


def test_examples(task: PromptTask, seed: int, prompts: int, length: int) -> Examples:
    """The test sequences of one length, the same for all members; ValueError for an impossible seed, n or length."""
    return task.test(numpy_generator(seed, 0, f"test prompts of length {length}"), prompts, length)


def id_examples(task: PromptTask, seed: int, prompts: int) -> Examples:
    """Fresh sequences drawn as in training (in distribution), the same for all members."""
    return task.training(numpy_generator(seed, 0, "test prompts as in training"), prompts)


def room_of(task: PromptTask, length: int) -> int:
    """Tokens for which positions of test sequences of a length must leave room.

    Short sequences start where training sequences do, too: the table's last rows have only been trained with the ends
    of long ones.
    """
    return max(task.tokens_at(length), task.longest_training)


def test_starts(config: TransformerConfig, seed: int, prompts: int, length: int, tokens: int) -> Tensor | None:
    """First rows of the learned position table for test sequences of at most `tokens` tokens, `[prompts]`; None for
    other kinds of positions. ValueError where the table has no room for them."""
    _check_positions(config, tokens)
    generator = numpy_generator(seed, 0, f"positions of test prompts of length {length}")
    return _starts(config, generator, prompts, tokens)


def _starts(config: TransformerConfig, generator: np.random.Generator, n: int, tokens: int) -> Tensor | None:
    """Uniform first rows `[n]` from which `tokens` - 1 inputs (the last token is only predicted) stay in the table."""
    if config.positions != "learned":
        return None
    return torch.from_numpy(generator.integers(config.longest - tokens + 2, size=n))


class _Data:
    """Batches of every member, drawn from its own generators in blocks of updates."""

    def __init__(self, task: PromptTask, config: TransformerConfig, seed: int, members: Sequence[int], batch: int):
        self.task, self.config, self.seed, self.members, self.batch = task, config, seed, list(members), batch
        self._kept: tuple[tuple[int, int, int], Batch] | None = None

    def __call__(self, step: int, rows: slice) -> Batch:
        block = self._block(step // _BLOCK, rows)
        return block.each(lambda part: part[:, step % _BLOCK])

    def _block(self, number: int, rows: slice) -> Batch:
        """Examples `[p, _BLOCK, batch, ...]` of a block of updates, kept until another one is asked for."""
        wanted = (number, rows.start, rows.stop)
        if self._kept is None or self._kept[0] != wanted:
            parts = [self._drawn(member, number) for member in self.members[rows]]
            tokens, counted = torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts])
            starts = [part[2] for part in parts if part[2] is not None]
            joined = Batch(tokens, counted, torch.stack(starts) if starts else None)
            self._kept = wanted, joined.each(lambda part: part.unflatten(1, (_BLOCK, self.batch)))
        return self._kept[1]

    def _drawn(self, member: int, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens `[n, T]`, flags of counted next tokens `[n, T - 1]` and starts `[n]` of one member's block."""
        generator = numpy_generator(self.seed, member, f"training examples, block {number}")
        tokens, first, lengths = self.task.training(generator, _BLOCK * self.batch)
        place = np.arange(1, tokens.shape[1])
        counted = (place >= first[:, None]) & (place < lengths[:, None])
        starts = _starts(self.config, generator, len(tokens), tokens.shape[1])
        return torch.from_numpy(tokens), torch.from_numpy(counted), starts


def prompt_population(
    task: str, settings: dict[str, Any], members: list[int], seed: int, batch: int, architecture: dict[str, Any],
    recipe: dict[str, Any], record_at: list[int], test_lengths: list[int], prompts: int, kept: int = 0,
    device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train P members on one task and score how they continue test prompts of several lengths.

    Args:
        task, settings: "copying", "counting" or "addition" and the arguments of its class, training lengths included.
        members: P replicates, each of which draws initial weights and data of its own.
        seed: base seed.
        batch: sequences of one update and member.
        architecture, recipe: arguments of `TransformerConfig` (without `vocabulary`) and of `Recipe`.
        record_at: numbers of updates after which the members are tested, C in all.
        test_lengths: L lengths; at each, all members see the same prompts.
        prompts: test prompts of a length.
        kept: so many members, the first ones, hand back their final weights.

    Returns:
        exact `[P, C, L]`: share of prompts whose greedy continuation is right in every token;
        sequence_loss `[P, C, L]`: mean negative log-likelihood of a continuation, in nats;
        worst `[P, C, L]`: mean over prompts of the probability of the least likely token, worst_log of its logarithm;
        margin `[P, C, L]`: mean over prompts of the smallest lead of a true token's logit;
        id_exact, id_sequence_loss, id_worst, id_worst_log, id_margin `[P, C]`: the same over fresh sequences drawn as
            in training;
        loss `[P, C]`: mean training loss per token since the time before; the kept weights, see `kept_weights`.

    Raises:
        ValueError: impossible settings, a test length that the task or the position table cannot hold, no member.
    """
    made = task_of(task, settings)
    config = TransformerConfig(vocabulary=made.vocabulary, **architecture)
    _check(members, batch, test_lengths, prompts, kept)
    tests = [test_examples(made, seed, prompts, length) for length in test_lengths]
    _check_positions(config, max([made.longest_training, *(test.tokens.shape[1] for test in tests)]))
    starts = [test_starts(config, seed, prompts, length, room_of(made, length)) for length in test_lengths]
    own = id_examples(made, seed, prompts), test_starts(config, seed, prompts, 0, made.longest_training)

    def record(weights: Weights, _rows: slice, _step: int) -> dict[str, Tensor]:
        each = [scores_of(config, weights, *pair) for pair in zip(tests, starts, strict=True)]
        longer = {name: torch.stack([scores[name] for scores in each], dim=1) for name in each[0]}
        return longer | {f"id_{name}": value for name, value in scores_of(config, weights, *own).items()}

    drawn = initial_weights(config, [torch_generator(seed, r, "initial weights") for r in members])
    trained = train(
        config, Recipe(**recipe), drawn, _Data(made, config, seed, members, batch),
        keys=mask_keys(seed, members, "dropout masks"), record_at=record_at, record=record, device=device,
        checkpoint=checkpoint, label=f"training {len(members)} networks",
    )  # fmt: skip
    return trained.records | as_kept(trained.weights, kept)


def scores_of(
    config: TransformerConfig, weights: Weights, examples: Examples, starts: Tensor | None
) -> dict[str, Tensor]:
    """Mean scores `[P]` over examples, under the names that `prompt_population` returns them."""
    given = [torch.from_numpy(part) for part in examples]
    scores = sequence_scores(config, weights, given[0], given[1], given[2], starts)
    values = {
        "exact": scores.exact, "sequence_loss": scores.loss, "worst": scores.worst.exp(), "worst_log": scores.worst,
        "margin": scores.margin,
    }  # fmt: skip
    return {name: value.double().mean(1) for name, value in values.items()}


def _check(members: Sequence[int], batch: int, test_lengths: Sequence[int], prompts: int, kept: int) -> None:
    for name, entries in (("members", members), ("test_lengths", test_lengths)):
        if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
            raise ValueError(f"{name} = {entries!r}; a list of at least one whole number is needed")
    whole_number("batch", batch)
    whole_number("prompts", prompts)
    whole_number("kept", kept, 0, len(members))


def _check_positions(config: TransformerConfig, tokens: int) -> None:
    """ValueError unless the inputs of a sequence of `tokens` fit into the learned position table, if there is one."""
    if config.positions == "learned" and tokens - 1 > config.longest:
        raise ValueError(f"longest = {config.longest} rows of positions; the longest sequence here needs {tokens - 1}")
