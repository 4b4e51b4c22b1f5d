"""The experiment on updates: what asking again brings, where that comes from, and what wrong lessons do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.core.reporting import mean_and_error
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.beliefs import labels
from twelvefold.papers.igda.discovery_study import CHUNK, columns_of, drawn_experts, experiments_per_round, policy_of
from twelvefold.papers.igda.feedback import Feedback, Neighbourhood, no_feedback
from twelvefold.papers.igda.loop import Discovery, Expert, area, discover
from twelvefold.papers.igda.metrics import agreement
from twelvefold.papers.igda.simulated_expert import SimulatedExpert, Skill, all_pairs, shared_errors
from twelvefold.tasks.causal_graphs import load_graph


@dataclass(frozen=True)
class Arm:
    """One way of updating.

    Attributes:
        policy: a key as in `discovery_study.policy_of`. neighbourhood: what a local update is, see `feedback`.
        lessons: what the expert learns from tests: "right", "shuffled" (see `Shuffled`) or "misplaced" (`Misplaced`).
    """

    policy: str
    neighbourhood: Neighbourhood = "same_role"
    lessons: str = "right"

    @property
    def reference(self) -> str:
        """The arm with the same selection and no update."""
        return self.policy.partition("+")[0]


ARMS: Mapping[str, Arm] = {
    **{key: Arm(key) for key in ("uncertainty", "uncertainty+local", "uncertainty+global", "random", "random+local")},
    "any endpoint": Arm("uncertainty+local", neighbourhood="any_endpoint"),
    "shuffled": Arm("uncertainty+local", lessons="shuffled"),
    "misplaced": Arm("uncertainty+local", lessons="misplaced"),
}


class Shuffled(NamedTuple):
    """An expert that knows which pairs were tested and mixes up what each of them told; anew whenever it is asked.

    Attributes:
        expert: of S replicates. generator: shuffles.
    """

    expert: SimulatedExpert
    generator: torch.Generator

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]` after its errors on tested pairs have changed places among these pairs."""
        tested, evidence = feedback.tested, self.expert.evidence
        if not bool(tested.any()):
            return self.expert.beliefs(asked, feedback)
        means = self.expert.skill.separation * (self.expert.edges.double() - 0.5).expand_as(evidence)
        errors = (evidence - means)[tested].view(len(evidence), -1)  # [S, tests]
        order = torch.rand(errors.shape, generator=self.generator, dtype=torch.float64).argsort(1).to(errors.device)
        moved = evidence.clone()
        moved[tested] = means[tested] + errors.gather(1, order).flatten()
        return self.expert._replace(evidence=moved).beliefs(asked, feedback)


class Misplaced(NamedTuple):
    """An expert that takes what tests tell about a variable for news about another one.

    Attributes:
        expert: of S replicates. other: the variable it thinks of, a permutation of n for each replicate `[S, n]`.
    """

    expert: SimulatedExpert
    other: Tensor

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]` whose mean and variance of the error are those of another pair."""
        means, variances = shared_errors(self.expert.skill, self.expert.evidence, self.expert.edges, feedback)
        # x' from which the expert, with the right m and v, draws the wrong conclusion: (x' - m) / v = (x - m*) / v*
        wrong = means + variances * (self.expert.evidence - self._of_others(means)) / self._of_others(variances)
        evidence = torch.where(feedback.tested, self.expert.evidence, wrong)
        return self.expert._replace(evidence=evidence).beliefs(asked, feedback)

    def _of_others(self, values: Tensor) -> Tensor:
        rows, columns = self.other[:, :, None].expand_as(values), self.other[:, None, :].expand_as(values)
        return values.gather(1, rows).gather(2, columns)


def taught(expert: SimulatedExpert, lessons: str, generator: torch.Generator) -> Expert:
    """The expert, learning rightly or wrongly from tests.

    Args:
        lessons: "right", "shuffled" or "misplaced". generator: draws what is mixed up.

    Raises:
        ValueError: other lessons.
    """
    if lessons == "right":
        return expert
    if lessons == "shuffled":
        return Shuffled(expert, generator)
    if lessons == "misplaced":
        draws = torch.rand(expert.evidence.shape[:2], generator=generator, dtype=torch.float64)
        return Misplaced(expert, draws.argsort(1).to(expert.evidence.device))
    raise ValueError(f"lessons = {lessons!r}; 'right', 'shuffled' or 'misplaced' is needed")


class Parts(NamedTuple):
    """F1 after the tests of an arm, had no belief been renewed `[S, R + 1]`: over all pairs, over untested ones."""

    f1: Tensor
    f1_untested: Tensor


def with_first_labels(first: Tensor, edges: Tensor, made: Discovery) -> Parts:
    """Score the tests of a discovery alone: F1 with labels from the first beliefs `[S, n, n]` on untested pairs."""
    scores = []
    for number in range(len(made.tests)):
        tested = made.feedback.tested & (made.feedback.round <= number)
        scores.append(agreement(torch.where(tested, edges, labels(first)), edges, tested))
    return Parts(torch.stack([s.f1 for s in scores], 1), torch.stack([s.f1_untested for s in scores], 1))


def update_runs(
    seed: int, graph: str, shared: float, arms: list[str], replicates: int, rounds: int, tested_share: float,
    believed: float | None = None, separation: float = 1.5, block: int = 1, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Let arms that differ in their updates discover a published graph, on the same evidence.

    Args:
        seed: base seed. graph: name. shared: rho, of causes and of effects alike.
        arms: keys of `ARMS`; for each of them the one without update must be there too.
        replicates: S. rounds: R. tested_share: of all pairs, after R rounds.
        believed: rho that the expert takes for the true one when it learns from tests; None: it knows.
        separation: d'. block: numbers per replicate are averaged over so many, which must divide S.

    Returns:
        `area`, `untested`: per arm, one number per block: mean F1 over rounds 0, ..., R, and mean F1 on untested pairs
        over rounds 1, ..., R. `means`: columns arm and, with standard errors `..._se`, those of `compared`. `rounds`:
        columns arm, round, tested (share of the pairs) and with standard errors f1, untested, gain (in F1 over the
        reference). `changed`: per arm the number of replicates whose F1 differs from the reference's in any round.

    Raises:
        ValueError: a number or name that is not accepted.
    """
    if block < 1 or replicates < 1 or replicates % block:
        raise ValueError(f"block = {block}, replicates = {replicates}; whole blocks of at least 1 are needed")
    if not {*arms} <= {*ARMS} or not {ARMS[arm].reference for arm in arms} <= {*arms}:
        raise ValueError(f"arms = {arms}; some of {list(ARMS)} with those without update are needed")
    skill = Skill(separation, shared, shared)
    chunks = [range(first, min(first + CHUNK, replicates)) for first in range(0, replicates, CHUNK)]
    parts = [_chunk(seed, chunk, graph, skill, believed, arms, rounds, tested_share, device) for chunk in chunks]
    found = {arm: {name: torch.cat([part[arm][name] for part in parts]) for name in parts[0][arm]} for arm in arms}
    summaries = {arm: compared(kept, found[ARMS[arm].reference]) for arm, kept in found.items()}
    blocks = {name: {arm: values[name].view(-1, block).mean(1).tolist() for arm, values in summaries.items()}
              for name in ("area", "untested")}  # fmt: skip
    changed = {arm: int((kept["f1"] != found[ARMS[arm].reference]["f1"]).any(1).sum()) for arm, kept in found.items()}
    means = [{"arm": arm, **_with_errors(values)} for arm, values in summaries.items()]
    return {**blocks, "changed": changed, "means": columns_of(means), "rounds": columns_of(_round_rows(found))}


def _chunk(
    seed: int, replicates: Sequence[int], graph: str, skill: Skill, believed: float | None, arms: Sequence[str],
    rounds: int, tested_share: float, device: str | torch.device,
) -> dict[str, dict[str, Tensor]]:  # fmt: skip
    """Per arm F1 `[S, R + 1]` and what goes with it, on the CPU."""
    task = load_graph(graph)
    expert = drawn_experts(seed, replicates, skill, task, device)
    if believed is not None:
        expert = expert._replace(skill=replace(skill, shared_source=believed, shared_target=believed))
    first = expert.beliefs(all_pairs(expert), no_feedback(len(replicates), task.size, device))
    experiments, found = experiments_per_round(task.size, rounds, tested_share), {}
    for name in arms:
        arm, mixing = ARMS[name], torch_generator(seed, replicates[0], f"wrong lessons on {graph}")
        policy = replace(policy_of(arm.policy), neighbourhood=arm.neighbourhood)
        # ties fall alike for all arms, so that random tests are the same with and without update
        made = discover(taught(expert, arm.lessons, mixing), expert.edges, policy, replicates=len(replicates),
                        rounds=rounds, experiments=experiments,
                        generator=torch_generator(seed, replicates[0], f"ties on {graph}"))  # fmt: skip
        stale = with_first_labels(first, expert.edges, made)
        kept = {"f1": made.f1, "untested": made.f1_untested, "stale_f1": stale.f1, "stale_untested": stale.f1_untested,
                "questions": made.questions / (task.size * (task.size - 1)), "found": made.found.double(),
                "tests": made.tests.expand_as(made.f1) / (task.size * (task.size - 1))}  # fmt: skip
        found[name] = {key: values.double().cpu() for key, values in kept.items()}
    return found


def compared(kept: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers per replicate `[S]` of an arm, beside the arm with the same selection and no update.

    Returns:
        area: mean F1 over rounds 0, ..., R. gain: area minus the reference's; it is the sum of chosen (from other
        tests, with the first labels on untested pairs) and relabelled (from new labels on them). untested: mean F1
        over untested pairs, rounds 1, ..., R; untested_gain: minus the reference's; untested_same: minus that of the
        first labels on the same untested pairs. last: F1 after round R. again: questions asked after the first ones,
        per pair. edges: tests that met an edge, minus the reference's.
    """
    after = {name: values[:, 1:].mean(1) for name, values in kept.items()}
    gained, chosen = area(kept["f1"]) - area(reference["f1"]), area(kept["stale_f1"]) - area(reference["f1"])
    return {
        "area": area(kept["f1"]), "gain": gained, "chosen": chosen, "relabelled": gained - chosen,
        "untested": after["untested"], "untested_gain": after["untested"] - reference["untested"][:, 1:].mean(1),
        "untested_same": after["untested"] - after["stale_untested"], "last": kept["f1"][:, -1],
        "again": kept["questions"][:, -1] - 1, "edges": kept["found"][:, -1] - reference["found"][:, -1],
    }  # fmt: skip


def _round_rows(found: Mapping[str, Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    rows = []
    for arm, kept in found.items():
        gain = kept["f1"] - found[ARMS[arm].reference]["f1"]
        for r in range(kept["f1"].shape[1]):
            values = {"f1": kept["f1"][:, r], "untested": kept["untested"][:, r], "gain": gain[:, r]}
            rows.append({"arm": arm, "round": r, "tested": float(kept["tests"][0, r]), **_with_errors(values)})
    return rows


def _with_errors(values: Mapping[str, Tensor]) -> dict[str, float]:
    summaries = {name: mean_and_error(column.numpy()) for name, column in values.items()}
    return {f"{name}{end}": pair[i] for name, pair in summaries.items() for i, end in enumerate(("", "_se"))}


class Step(NamedTuple):
    """Beliefs of one expert `[n, n]` before and after tests, which pairs were tested, and the true graph."""

    before: Tensor
    after: Tensor
    tested: Tensor
    edges: Tensor


def one_step(graph: str, shared: float, tests: int, seed: int, replicate: int = 0) -> Step:
    """Let one expert be tested where it is least sure, and ask it about everything again.

    Args:
        graph: name. shared: rho, of causes and of effects alike. tests: how many. seed, replicate: of its evidence.

    Raises:
        ValueError: more tests than pairs, or an expert that there cannot be.
    """
    expert = drawn_experts(seed, [replicate], Skill(1.5, shared, shared), load_graph(graph))
    first = expert.beliefs(all_pairs(expert), no_feedback(1, len(expert.edges)))
    made = discover(expert, expert.edges, policy_of("uncertainty+global"), replicates=1, rounds=1, experiments=tests,
                    generator=torch_generator(seed, replicate, f"ties on {graph}"))  # fmt: skip
    return Step(first[0], made.beliefs[0], made.feedback.tested[0], expert.edges)
