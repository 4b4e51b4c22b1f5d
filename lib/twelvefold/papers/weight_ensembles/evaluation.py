"""One replicate ready for selection: its data, architecture and ingredients, and the accuracies of any average."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from twelvefold.nn.functional_population import correctness, predict
from twelvefold.papers.weight_ensembles.distances import euclidean, ratio_error
from twelvefold.papers.weight_ensembles.images import Labelled, Task
from twelvefold.papers.weight_ensembles.soup import check_population

DISTANCES = ("d_D", "d_E")


class Bench:
    """Ingredients `weights [N, P]` of one replicate with everything that selection and reporting ask of them.

    initial `[1, P]` (or `[N, P]`): the weights before fine-tuning. Selection uses `validate` and the distances only,
    which see the validation images; `test` is for reporting.
    """

    def __init__(self, model: nn.Module, task: Task, initial: Tensor, weights: Tensor, device: torch.device) -> None:
        self.model, self.task, self.device = model.to(device), task, device
        self.initial, self.weights = initial.to(device), check_population(weights).to(device)

    def correct(self, weights: Tensor, images: Labelled) -> Tensor:
        """Boolean table `[R, n]` of right answers."""
        return correctness(self.model, weights.to(self.device), images.inputs, images.labels)

    def validate(self, weights: Tensor) -> Tensor:
        """Validation accuracy A_val `[R]` of averages `[R, P]`."""
        return _share(self.correct(weights, self.task.validation))

    def test(self, weights: Tensor, column: str = "id") -> Tensor:
        """Accuracy `[R]` on a test column: "id", "ood" or a further shift; KeyError names the known ones."""
        if column not in self.task.tests:
            raise KeyError(f"column {column!r} is not a test of this task; known are {list(self.task.tests)}")
        return _share(self.correct(weights, self.task.tests[column]))

    def individual_means(self) -> dict[str, float]:
        """Mean accuracy of the single ingredients on validation and every test column."""
        return {name: float(means.mean()) for name, (means, _) in self._member_scores.items()}

    def ensembles(self) -> dict[str, float]:
        """Accuracy of the prediction ensemble, the mean softmax of all N members (N times the cost of one network)."""
        return {name: ensemble for name, (_, ensemble) in self._member_scores.items()}

    @cached_property
    def _member_scores(self) -> dict[str, tuple[Tensor, float]]:
        """Accuracies `[N]` of the members and of their prediction ensemble, from one pass over every column."""
        scores = {}
        for name, images in {"validation": self.task.validation, **self.task.tests}.items():
            labels = images.labels.to(self.device)
            logits = predict(self.model, self.weights, images.inputs)  # [N, n, C]
            ensemble = logits.softmax(-1).mean(0).argmax(-1) == labels
            scores[name] = (_share(logits.argmax(-1) == labels), float(_share(ensemble[None])[0]))
        return scores

    @cached_property
    def member_correct(self) -> Tensor:
        """Right answers of the ingredients on the validation images, `[N, n]`."""
        return self.correct(self.weights, self.task.validation)

    @cached_property
    def individual(self) -> Tensor:
        """A_val of the single ingredients `[N]`."""
        return _share(self.member_correct)

    def distance_to(self, mean: Tensor, kind: str) -> Tensor:
        """Distances `[N]` of the ingredients to the average `mean [P]`: "d_D" on validation answers, "d_E" of
        weights."""
        check_distance(kind)
        if kind == "d_E":
            return euclidean(mean[None], self.weights)[0]
        return ratio_error(self.correct(mean[None], self.task.validation), self.member_correct)[0]

    def pairwise(self, kind: str) -> Tensor:
        """Distances `[N, N]` between the ingredients."""
        check_distance(kind)
        return euclidean(self.weights) if kind == "d_E" else ratio_error(self.member_correct)


def check_distance(kind: str) -> str:
    """Return `kind` if it is "d_D" or "d_E"; ValueError otherwise."""
    if kind not in DISTANCES:
        raise ValueError(f"distance is {kind!r}; known are {list(DISTANCES)}")
    return kind


def _share(correct: Tensor) -> Tensor:
    return correct.double().mean(dim=1).cpu()
