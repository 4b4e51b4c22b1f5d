"""How well members of a population answer questions of trees that their training set held, and of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from twelvefold.core.sweep import sweep
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks.grammar_populations import (
    BOTH,
    Member,
    answers,
    grammar_population,
    mix_of,
    rules_followed,
    vocabulary_of,
)
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.question_formation import QuestionMix, id_questions

PARTS = ("seen", "unseen")


def tree_accuracy(
    population: dict[str, Any], items: int, device: str | torch.device = "cpu"
) -> dict[str, np.ndarray]:
    """Accuracy `[kept]` of the kept members on fresh questions of "seen" and of "unseen" trees of their own mix.

    An answer is right when it is the auxiliary that both rules front (in-distribution questions never tell the rules
    apart). The population is read from the cache or trained.

    Args:
        population: arguments of `grammar_population`, with `kept` members and mixes that keep some question trees.
        items: number of questions of either kind.

    Raises:
        ValueError: another task, no kept member, or a mix that keeps every question tree.
    """
    if population["task"] != "question" or not population.get("kept"):
        raise ValueError(f"population has task = {population['task']!r} and kept = {population.get('kept')!r}; needed "
                         "are 'question' and the weights of at least one member")  # fmt: skip
    trained = sweep(grammar_population, [population], device=device, label="training networks on few trees")[0]
    weights = kept_weights(trained, device)
    lexicon = population["mixes"][0].get("lexicon", "full")
    config = TransformerConfig(vocabulary=vocabulary_of("question", lexicon).size, **population["architecture"])
    result = {part: np.empty(population["kept"]) for part in PARTS}
    for row, numbers in enumerate(population["members"][: population["kept"]]):
        mix = mix_of("question", population["mixes"][Member(*numbers).mix])
        assert isinstance(mix, QuestionMix)  # by the check above
        own = {name: value[row : row + 1] for name, value in weights.items()}
        for part in PARTS:
            test = id_questions(mix, items, population["seed"], 0, trees=part)
            right = rules_followed(answers(config, own, test), test) == BOTH
            result[part][row] = float(right.double().mean())
    return result
