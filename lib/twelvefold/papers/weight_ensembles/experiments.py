"""The experiments of the five notebooks as sweep functions: one call computes one replicate.

Each asks for its population through a nested sweep, so that it is trained once however many notebooks use it, and
returns `{"columns": {name: [one value per row]}}` for `tidy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from twelvefold.core import seeds
from twelvefold.core.sweep import sweep
from twelvefold.papers.weight_ensembles import models
from twelvefold.papers.weight_ensembles.distances import error_counts, euclidean, mean_pairwise, ratio_error
from twelvefold.papers.weight_ensembles.embedding import align, pair_distances, permuted, smacof
from twelvefold.papers.weight_ensembles.evaluation import Bench
from twelvefold.papers.weight_ensembles.populations import load_task, population
from twelvefold.papers.weight_ensembles.recipes import FORCED, SELECTIONS, Recipe, cook
from twelvefold.papers.weight_ensembles.soup import averages


def bench_of(ingredients: Mapping[str, Any], device: str | torch.device = "cpu") -> Bench:
    """Obtain a population (from the cache if it is there) with its data, ready for selection."""
    where = torch.device(device)
    trained = sweep(population, [dict(ingredients)], device=device, label="population")[0]
    seed, replicate = ingredients["seed"], ingredients["replicate"]
    task = load_task(ingredients["data"], seed, replicate, ingredients["size"])
    channels, height, width = task.training.inputs.shape[1:]
    generator = seeds.torch_generator(seed, replicate, "initial weights 0")
    model = models.build(ingredients["architecture"], (channels, height, width), task.classes, generator)
    initial, weights = torch.from_numpy(trained["initial"]), torch.from_numpy(trained["weights"])
    return Bench(model, task, initial, weights, where)


def tidy(points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One data frame of all rows, with the regime and replicate of the point in front."""
    frames = []
    for point, result in zip(points, results, strict=True):
        ingredients = point["ingredients"]
        frame = pd.DataFrame(dict(result["columns"]))
        frame.insert(0, "regime", ingredients["regime"])
        frame.insert(1, "replicate", ingredients["replicate"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _scores(bench: Bench, weights: Tensor, columns: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Accuracy on validation and on test columns of rows `[R, P]`, as lists of six decimals (steps are above 1e-5)."""
    names = list(bench.task.tests) if columns is None else columns
    scores = {"validation": bench.validate(weights)} | {name: bench.test(weights, name) for name in names}
    return {name: _rounded(values) for name, values in scores.items()}


def _rounded(values: Tensor, decimals: int = 6) -> list[float]:
    return [round(value, decimals) for value in values.tolist()]


def selection_runs(ingredients: dict[str, Any], device: str | torch.device = "cpu") -> dict[str, Any]:
    """All selection methods on one population, with controls forced to greedy's size and functional references."""
    bench = bench_of(ingredients, device)
    seed, replicate = ingredients["seed"], ingredients["replicate"]
    soups = {name: cook(bench, recipe) for name, recipe in SELECTIONS.items()}
    size = soups["greedy"].size
    for rule in ("top-k", "farthest d_D", "nearest d_D", "random"):
        soups[f"forced {rule}"] = cook(bench, FORCED[rule], size=size, seed=seed, replicate=replicate)
    best = int(bench.individual.argmax())
    fixed = {"initial": bench.initial[0], "best single": bench.weights[best], "uniform": bench.weights.mean(0)}
    rows = torch.stack([*fixed.values(), *(made.weights for made in soups.values())])
    sizes = [1, 1, len(bench.weights), *(made.size for made in soups.values())]
    costs = [0, 0, 0, *(made.evaluations for made in soups.values())]
    columns: dict[str, list[Any]] = {"method": [*fixed, *soups], "members": sizes, "evaluations": costs}
    columns |= _scores(bench, rows)
    for name, scores in (("mean individual", bench.individual_means()), ("prediction ensemble", bench.ensembles())):
        columns["method"].append(name)
        columns["members"].append(len(bench.weights) if name == "prediction ensemble" else 1)
        columns["evaluations"].append(0)
        for column, value in scores.items():
            columns[column].append(round(value, 6))
    columns["test_images"] = [len(bench.task.tests["id"])] * len(columns["method"])
    return {"columns": columns}


def dynamics_runs(ingredients: dict[str, Any], largest: int, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Forced additions by every rule of `FORCED`: accuracy of the average of 1, 2, ..., `largest` ingredients."""
    bench = bench_of(ingredients, device)
    columns: dict[str, list[Any]] = {"method": [], "members": []}
    paths = []
    for name, recipe in FORCED.items():
        made = cook(bench, recipe, size=largest, seed=ingredients["seed"], replicate=ingredients["replicate"])
        paths.append(averages(bench.weights, made.chosen))
        columns["method"] += [name] * largest
        columns["members"] += list(range(1, largest + 1))
    columns |= _scores(bench, torch.cat(paths), ("id", "ood"))
    columns["test_images"] = [len(bench.task.tests["id"])] * len(columns["method"])
    return {"columns": columns}


def pair_runs(
    ingredients: dict[str, Any], pairs: int | None, shown: int, set_size: int, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """What averaging two ingredients gains, and the diversity and accuracy of sets of `set_size` of the forced rules.

    The gain of a pair is acc(average) - mean(acc of the two). `pairs` pairs are drawn at random (None: all).
    Rows by `kind`: "correlation" (Spearman over the pairs, in `value`, named by `rule`; "null" has permuted distances),
    "choice" (the pair with the best validation accuracy and the one with the largest d_D), "set" (one per forced rule,
    distances are means over the members' pairs), and "pair": `shown` of the pairs, for drawing.
    """
    bench = bench_of(ingredients, device)
    generator = seeds.numpy_generator(ingredients["seed"], ingredients["replicate"], "pairs")
    table = _pair_table(bench, _drawn(np.stack(np.triu_indices(len(bench.weights), k=1), axis=1), pairs, generator))
    frames = [_correlations(table, generator)]
    chosen = table.loc[[table["validation"].idxmax(), table["d_D"].idxmax()]]
    frames.append(chosen.assign(kind="choice", rule=["best on validation", "most diverse"]))
    frames.append(_sets(bench, ingredients, set_size))
    frames.append(table.iloc[_drawn(np.arange(len(table)), shown, generator)].assign(kind="pair"))
    joined = pd.concat(frames, ignore_index=True)
    joined["test_images"] = len(bench.task.tests["id"])
    return {"columns": {name: [None if pd.isna(x) else x for x in joined[name].tolist()] for name in joined.columns}}


def _drawn(items: np.ndarray, count: int | None, generator: np.random.Generator) -> np.ndarray:
    """`count` of the items without replacement, in their order (None or too many: all)."""
    if count is None or count >= len(items):
        return items
    return items[np.sort(generator.choice(len(items), size=count, replace=False))]


def _pair_table(bench: Bench, pairs: np.ndarray) -> pd.DataFrame:
    """Distances, common errors, accuracy and gains of the averages of `pairs [K, 2]`."""
    first, second = torch.from_numpy(pairs).T
    middle = _scores(bench, torch.lerp(bench.weights[first], bench.weights[second], 0.5), ("id", "ood"))
    single = {name: torch.tensor(values) for name, values in _scores(bench, bench.weights, ("id", "ood")).items()}
    table = pd.DataFrame({
        "d_D": _rounded(bench.pairwise("d_D").cpu()[first, second], 4),
        "d_E": _rounded(bench.pairwise("d_E").cpu()[first, second], 4),
        "both_err": error_counts(bench.member_correct)[1].cpu()[first, second].tolist(),
        "validation": middle["validation"], "id": middle["id"],
    })  # fmt: skip
    for name in ("id", "ood"):
        mean = (single[name][first] + single[name][second]) / 2
        table[f"{name}_gain"] = _rounded(torch.tensor(middle[name]) - mean)
    return table


CORRELATIONS = (("d_D", "id_gain"), ("d_D", "ood_gain"), ("d_E", "id_gain"), ("d_E", "ood_gain"), ("d_D", "d_E"))


def _spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation; 0 where one side is constant, since it then says nothing about the other."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def _correlations(table: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Spearman correlations over the pairs of one replicate, one with permuted distances, and the fewest common
    errors."""
    rows = {f"{x} {y}": _spearman(table[x], table[y]) for x, y in CORRELATIONS}
    rows["null"] = _spearman(generator.permutation(table["d_D"]), table["id_gain"])
    rows["fewest common errors"] = float(table["both_err"].min())
    return pd.DataFrame({"kind": "correlation", "rule": list(rows), "value": list(rows.values())})


def _sets(bench: Bench, ingredients: Mapping[str, Any], size: int) -> pd.DataFrame:
    """Mean pairwise distances, accuracy and gain of the set of `size` members that every forced rule builds."""
    single = _scores(bench, bench.weights, ("id", "ood"))
    distances = {kind: bench.pairwise(kind).cpu() for kind in ("d_D", "d_E")}
    rows = []
    for rule, recipe in FORCED.items():
        if recipe.replace:  # a set that may hold one member several times has no comparable diversity
            continue
        made = cook(bench, recipe, size=size, seed=ingredients["seed"], replicate=ingredients["replicate"])
        scores = {name: values[0] for name, values in _scores(bench, made.weights[None], ("id", "ood")).items()}
        row: dict[str, Any] = {"kind": "set", "rule": rule, "validation": scores["validation"], "id": scores["id"]}
        row |= {kind: round(mean_pairwise(matrix, made.chosen), 4) for kind, matrix in distances.items()}
        for name in ("id", "ood"):
            row[f"{name}_gain"] = round(scores[name] - float(np.mean([single[name][i] for i in made.chosen])), 6)
        rows.append(row)
    return pd.DataFrame(rows)


MAP_PATHS: dict[str, Recipe] = {
    name: SELECTIONS[name] for name in ("greedy", "greedier", "ranked R1 d_D", "ranked R1 d_E")
}


def mds_runs(
    ingredients: dict[str, Any], copies: int, path_size: int, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Joint maps of ingredients, the initial weights and the averages along each selection, by d_E and d_D.

    `copies` matrices with permuted distances give the null stress. `path_size` is the number of ingredients up to which
    the path lengths of forced greedier and top-k are compared. Besides the columns of the map the result holds
    `summary` (one value per name) and the true distances `d_E`, `d_D` `[points, points]`.
    """
    bench = bench_of(ingredients, device)
    labels, rows = [("ingredient", 1)] * len(bench.weights) + [("initial", 0)], [bench.weights, bench.initial[:1]]
    for name, recipe in MAP_PATHS.items():
        path = averages(bench.weights, cook(bench, recipe).chosen)[1:]
        labels += [(name, step + 2) for step in range(len(path))]
        rows.append(path)
    everything = torch.cat(rows)
    correct = bench.correct(everything, bench.task.validation)
    matrices = {"d_E": euclidean(everything).cpu(), "d_D": ratio_error(correct).cpu()}
    columns: dict[str, list[Any]] = {"path": [label for label, _ in labels], "members": [step for _, step in labels]}
    columns["validation"] = _rounded(correct.double().mean(1))
    summary: dict[str, float] = {"points": len(labels)}
    reference: np.ndarray | None = None
    for kind, matrix in matrices.items():
        positions, numbers = _map(
            matrix, seeds.numpy_generator(ingredients["seed"], ingredients["replicate"], f"null {kind}"), copies
        )
        # both maps on one footing: turn and scale the second onto the first
        reference = positions if reference is None else reference
        shown = positions if reference is positions else align(positions, reference)
        columns |= {f"{kind}_x": shown[:, 0].round(5).tolist(), f"{kind}_y": shown[:, 1].round(5).tolist()}
        summary |= {f"{kind}_{name}": value for name, value in numbers.items()}
    scale = float(matrices["d_E"][: len(bench.weights), : len(bench.weights)].sum()) / (
        len(bench.weights) * (len(bench.weights) - 1)
    )
    for name in ("greedier", "top-k"):
        path = averages(bench.weights, cook(bench, FORCED[name], size=path_size).chosen)
        summary[f"path {name}"] = float((path[1:] - path[:-1]).double().norm(dim=1).sum()) / scale
    return {"columns": columns, "summary": summary, **matrices}


def _map(matrix: Tensor, generator: np.random.Generator, copies: int) -> tuple[np.ndarray, dict[str, float]]:
    """Embedded points `[n, 2]` and stress, stress of permuted distances, correlation of true and embedded distances."""
    positions, stress = smacof(matrix)
    _, null = smacof(permuted(matrix, generator, copies))
    rows, columns = torch.triu_indices(len(matrix), len(matrix), offset=1)
    true, shown = matrix[rows, columns].numpy(), pair_distances(positions)[rows, columns].numpy()
    numbers = {
        "stress": float(stress),
        "null_stress": float(null.mean()),
        "correlation": float(np.corrcoef(true, shown)[0, 1]) if np.ptp(true) > 0 else 1.0,
    }
    return positions.numpy(), numbers


def basin_runs(
    ingredients: dict[str, Any], pairs: int, points: int, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Accuracy along the segment between two ingredients, of one shared and of two different initialisations.

    Pair p joins members 2p and 2p + 1; both arms use the same hyperparameters, data and batches, so that only the
    initial weights differ. `points` values of alpha from 0 to 1.
    """
    if not 1 <= pairs <= ingredients["members"] // 2:
        raise ValueError(
            f"pairs is {pairs}; accepted are 1 to {ingredients['members'] // 2}, half the number of members"
        )
    own = {**ingredients, "members": 2 * pairs, "initialisation": "different"}
    alphas = torch.linspace(0, 1, points)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("initialisation", "pair", "alpha", "validation", "id", "ood")
    }
    for name, point in (("shared", ingredients), ("different", own)):
        bench = bench_of(point, device)
        for pair in range(pairs):
            first, second = bench.weights[2 * pair], bench.weights[2 * pair + 1]
            segment = torch.lerp(first, second, alphas.to(first)[:, None])
            columns["initialisation"] += [name] * points
            columns["pair"] += [pair] * points
            columns["alpha"] += [round(float(alpha), 6) for alpha in alphas]
            for column, values in _scores(bench, segment, ("id", "ood")).items():
                columns[column] += values
    columns["test_images"] = [len(bench.task.tests["id"])] * len(columns["pair"])
    return {"columns": columns}
