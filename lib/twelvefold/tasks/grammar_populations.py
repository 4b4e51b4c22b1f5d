"""Populations of transformers trained on mixes of grammar sentences, and what rule each member follows over time.

The sweep function `grammar_population` lives here under the task's name, so that every study that asks for the same
population reads the same cache entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.exact_match import exact_match, passes
from twelvefold.nn.transformer import Weights, forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batch, Recipe, train
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.items import Items
from twelvefold.tasks.kept_weights import as_kept
from twelvefold.tasks.sharding import sweep_shards
from twelvefold.tasks.vocabulary import PAD_ID, Vocabulary

NEITHER, HIERARCHICAL, LINEAR, BOTH = 0, 1, 2, 3  # how an answer relates to the two rules


class Member(NamedTuple):
    """A network of a population: the number of its mix, and the replicates that draw its initial weights (with its
    dropout) and its data order."""

    mix: int
    initial: int
    order: int


TASKS = ("question", "tense")

Mix = questions.QuestionMix | tenses.TenseMix


def mix_of(task: str, settings: Mapping[str, Any]) -> Mix:
    """The mix that a dict of settings describes; ValueError for an unknown task or an impossible mix."""
    kinds: dict[str, Callable[..., Mix]] = {"question": questions.QuestionMix, "tense": tenses.TenseMix}
    _check_task(task)
    try:
        return kinds[task](**settings)
    except TypeError as error:
        raise ValueError(f"settings = {dict(settings)!r} do not describe a {kinds[task].__name__}: {error}") from error


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f"task = {task!r}; known are {list(TASKS)}")


def vocabulary_of(task: str, lexicon: str) -> Vocabulary:
    """The vocabulary of a task with a lexicon."""
    _check_task(task)
    return questions.vocabulary(lexicon) if task == "question" else tenses.vocabulary(lexicon)


def training_set(mix: Mix, n: int, seed: int) -> Items:
    """The n training items that all members of a mix share; members differ in their order alone."""
    if isinstance(mix, questions.QuestionMix):
        return questions.training_items(mix, n, seed, 0)
    return tenses.training_items(mix, n, seed, 0)


def ood_set(task: str, lexicon: str, longest: int | None, n: int, seed: int) -> Items:
    """The n out-of-distribution items that tell the two rules apart, the same for all mixes."""
    _check_task(task)
    if task == "question":
        return questions.ood_questions(n, seed, 0, lexicon, longest)
    return tenses.ood_items(n, seed, 0, lexicon, longest)


def id_set(mix: Mix, n: int, seed: int) -> Items:
    """n fresh in-distribution items of the tested kind (all trees, whatever the mix kept)."""
    if isinstance(mix, questions.QuestionMix):
        return questions.id_questions(mix, n, seed, 0)
    return tenses.id_items(mix, n, seed, 0)


def orders(seed: int, replicates: Sequence[int], epoch: int, items: int) -> Tensor:
    """The order `[len(replicates), items]` in which each member sees the items in an epoch."""
    rows = [numpy_generator(seed, r, f"data order of epoch {epoch}").permutation(items) for r in replicates]
    return torch.from_numpy(np.stack(rows))


class _Data:
    """Batches of all members: data sets `[M, n, T]` of ids, and each member's own order through its mix's set."""

    def __init__(
        self, sets: Sequence[Items], members: Sequence[Member], seed: int, batch: int, device: torch.device
    ) -> None:
        # sets of one `longest` are equally wide, whatever they hold: what else is trained must not change a member
        self.tokens = torch.stack([torch.from_numpy(items.tokens) for items in sets]).to(device)
        self.mix = torch.tensor([member.mix for member in members], device=device)
        self.order = [member.order for member in members]
        self.seed, self.batch, self.items = seed, batch, self.tokens.shape[1]
        self._kept: tuple[tuple[int, int, int], Tensor] | None = None

    def __call__(self, step: int, rows: slice) -> Batch:
        """Tokens `[p, B, T]` of one update for the members `rows`; what is left of an epoch is dropped."""
        epoch, place = divmod(step, self.items // self.batch)
        picked = self._epoch(epoch, rows)[:, place * self.batch : (place + 1) * self.batch]
        tokens = self.tokens[self.mix[rows][:, None], picked].long()
        return Batch(tokens, counted=tokens[:, :, 1:] != PAD_ID)

    def _epoch(self, epoch: int, rows: slice) -> Tensor:
        wanted = (epoch, rows.start, rows.stop)
        if self._kept is None or self._kept[0] != wanted:
            self._kept = wanted, orders(self.seed, self.order[rows], epoch, self.items).to(self.tokens.device)
        return self._kept[1]


def ids(array: np.ndarray) -> Tensor:
    """A column of `Items` as int64."""
    return torch.from_numpy(array.astype(np.int64))


@torch.no_grad()
def answers(config: TransformerConfig, weights: Weights, items: Items) -> Tensor:
    """The choice with the highest logit at each item's query, ids `[P, n]`, from passes over prefixes of one length."""
    device = weights["embedding"].device
    tokens, query, choices = ids(items.tokens), ids(items.query), ids(items.choices)
    result = torch.empty(weights["embedding"].shape[0], len(items), dtype=torch.int64, device=device)
    for place in query.unique().tolist():
        for rows in passes((query == place).nonzero()[:, 0], place + 1):
            prefix = tokens[rows, : place + 1].to(device)
            logits = forward(config, weights, prefix, at=torch.full((len(rows),), place, device=device))  # [P, n, V]
            options = choices[rows].to(device).expand(len(logits), -1, -1)  # [P, n, C]
            best = logits.gather(2, options).argmax(2, keepdim=True)
            result[:, rows.to(device)] = options.gather(2, best)[..., 0]
    return result


def rules_followed(given: Tensor, items: Items) -> Tensor:
    """For answers `[P, n]`: NEITHER, HIERARCHICAL, LINEAR or BOTH (uint8), by which rules give the same answer."""
    hierarchical, linear = ids(items.hierarchical).to(given.device), ids(items.linear).to(given.device)
    return ((given == hierarchical) * HIERARCHICAL + (given == linear) * LINEAR).to(torch.uint8)


def grammar_population(
    task: str, mixes: list[dict[str, Any]], members: list[list[int]], seed: int, items: int, batch: int,
    architecture: dict[str, Any], recipe: dict[str, Any], record_at: list[int], ood_items: int, id_items: int,
    kept: int = 0, device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train P members, each on one of M mixes, and record which rule each follows.

    Args:
        task: "question" or "tense".
        mixes: settings of each mix, see `QuestionMix` and `TenseMix`; all with one lexicon and one `longest`.
        members: P triples (number of the mix, replicate of the initial weights and dropout, replicate of the data
            order). Members that share a replicate share those draws, whatever their mix: they are paired.
        seed: base seed.
        items: size of each training set; all members of a mix share it.
        batch: sequences of one update and member.
        architecture, recipe: arguments of `TransformerConfig` (without `vocabulary`) and of `Recipe`.
        record_at: numbers of updates after which the members are tested, C in all.
        ood_items, id_items: size of the two test sets.
        kept: so many members, the first ones, hand back their final weights.

    Returns:
        ood `[P, C, ood_items]` and id `[P, C, id_items]`: the rule each answer follows (codes of this module);
        exact `[P, C, id_items]`: whether the output of the in-distribution item would be right from the tested word on
            (in question formation, all of it);
        loss `[P, C]`: mean training loss since the time before; the kept weights, see `kept_weights`.

    Raises:
        ValueError: an impossible mix, a member of no mix, fewer items than a batch.
    """
    _check(mixes, members, items, batch, kept)
    made, who = [mix_of(task, settings) for settings in mixes], [Member(*member) for member in members]
    lexicon, longest = _common(made)
    config = TransformerConfig(vocabulary=vocabulary_of(task, lexicon).size, **architecture)
    data = _Data([training_set(mix, items, seed) for mix in made], who, seed, batch, torch.device(device))
    ood, tests = ood_set(task, lexicon, longest, ood_items, seed), [id_set(mix, id_items, seed) for mix in made]

    def record(weights: Weights, rows: slice, _step: int) -> dict[str, Tensor]:
        own = _by_mix(config, weights, [member.mix for member in who[rows]], tests)
        return {"ood": rules_followed(answers(config, weights, ood), ood), "id": own[0], "exact": own[1]}

    initial = [member.initial for member in who]
    drawn = initial_weights(config, [torch_generator(seed, r, "initial weights") for r in initial])
    trained = train(
        config, Recipe(**recipe), drawn, data,
        keys=mask_keys(seed, initial, "dropout masks"), record_at=record_at, record=record, device=device,
        checkpoint=checkpoint, label=f"training {len(who)} networks",
    )  # fmt: skip
    return trained.records | as_kept(trained.weights, kept)


def _by_mix(
    config: TransformerConfig, weights: Weights, mix: Sequence[int], tests: Sequence[Items]
) -> tuple[Tensor, Tensor]:
    """Each member on the test set of its own mix: the rule followed and exact match of the output, both `[p, n]`."""
    numbers, device = torch.tensor(mix), weights["embedding"].device
    followed = torch.zeros(len(mix), len(tests[0]), dtype=torch.uint8, device=device)
    exact = torch.zeros(len(mix), len(tests[0]), dtype=torch.bool, device=device)
    for number in numbers.unique().tolist():
        rows, items = (numbers == number).nonzero()[:, 0].to(device), tests[number]
        own = {name: weight[rows] for name, weight in weights.items()}
        followed[rows] = rules_followed(answers(config, own, items), items)
        exact[rows] = exact_match(config, own, ids(items.tokens), ids(items.query) + 1, ids(items.lengths))
    return followed, exact


def _common(mixes: Sequence[Mix]) -> tuple[str, int | None]:
    shared = {(mix.lexicon, mix.longest) for mix in mixes}
    if len(shared) > 1:
        raise ValueError(f"mixes have (lexicon, longest) {sorted(shared, key=str)}; one for all is needed")
    return shared.pop()


def _check(mixes: Sequence[Any], members: Sequence[Sequence[int]], items: int, batch: int, kept: int) -> None:
    if not mixes or not members:
        raise ValueError(f"mixes has {len(mixes)} and members {len(members)} entries; at least one of each is needed")
    for member in members:
        if len(member) != 3 or not 0 <= member[0] < len(mixes):
            raise ValueError(f"members holds {list(member)}; needed are [mix, initial, order] with a mix from 0 to "
                             f"{len(mixes) - 1}")  # fmt: skip
    if not 1 <= batch <= items:
        raise ValueError(f"batch = {batch}; a number from 1 to items = {items} is needed")
    if not 0 <= kept <= len(members):
        raise ValueError(f"kept = {kept}; a number from 0 to {len(members)} members is needed")


def sweep_populations(
    points: Sequence[Mapping[str, Any]], shard: int, *, device: str | torch.device = "cpu", label: str = "training"
) -> list[dict[str, Any]]:
    """Results of `grammar_population` at each point, trained in shards of at most `shard` members; see
    `sharding.sweep_shards`."""
    return sweep_shards(grammar_population, points, shard, device=device, label=label)
