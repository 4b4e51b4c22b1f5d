"""The selection methods by name: each is an order rule and an acceptance rule for `soup`."""

from __future__ import annotations

from dataclasses import dataclass

from twelvefold.core import seeds
from twelvefold.papers.weight_ensembles.evaluation import Bench, check_distance
from twelvefold.papers.weight_ensembles.soup import DYNAMIC_ORDERS, Soup, soup


@dataclass(frozen=True)
class Recipe:
    """A named selection method: order, acceptance, the distance it sorts by, whether members may be added again."""

    order: str
    accept: str = "not worse"
    distance: str = ""
    replace: bool = False


# Methods that stop by themselves. "ranked" is the paper's name for diversity-driven order; its rule could not be
# read, so R1 (at each step the farthest candidate from the current average whose addition does not lower A_val) and
# R3 (sorted once by mean distance to all others, then the greedy pass) are operational definitions.
SELECTIONS = {
    "greedy": Recipe("accuracy"),
    "greedy (strict)": Recipe("accuracy", "better"),
    "greedier": Recipe("gain"),
    "greedier (strict)": Recipe("gain", "better"),
    "greedier, replacement": Recipe("gain", replace=True),
    "ranked R1 d_D": Recipe("farthest", distance="d_D"),
    "ranked R1 d_E": Recipe("farthest", distance="d_E"),
    "ranked R3 d_D": Recipe("spread", distance="d_D"),
    "ranked R3 d_E": Recipe("spread", distance="d_E"),
}

# Methods that add to a given size, whatever happens to A_val (R2: forced diversity).
FORCED = {
    "top-k": Recipe("accuracy", "always"),
    "greedier": Recipe("gain", "always"),
    "greedier, replacement": Recipe("gain", "always", replace=True),
    "farthest d_D": Recipe("farthest", "always", "d_D"),
    "farthest d_E": Recipe("farthest", "always", "d_E"),
    "nearest d_D": Recipe("nearest", "always", "d_D"),
    "random": Recipe("random", "always"),
}


def cook(bench: Bench, recipe: Recipe, *, size: int | None = None, seed: int = 0, replicate: int = 0) -> Soup:
    """Apply a recipe to the ingredients of a replicate; `seed` and `replicate` matter for random orders only."""
    kind = recipe.distance
    dynamic = bool(kind) and recipe.order in DYNAMIC_ORDERS
    if kind:
        check_distance(kind)
    # a block is evaluated at once: all candidates where all are needed, few where the first accepted one ends the step
    block = 256 if recipe.order == "gain" else 8
    return soup(
        bench.weights, bench.validate, recipe.order, recipe.accept, size=size, replace=recipe.replace,
        individual=bench.individual,
        block=block,
        distance=(lambda mean: bench.distance_to(mean, kind)) if dynamic else None,
        pairwise=bench.pairwise(kind) if kind and not dynamic else None,
        generator=seeds.numpy_generator(seed, replicate, "random order") if recipe.order == "random" else None,
    )  # fmt: skip
