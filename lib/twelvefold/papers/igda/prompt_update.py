"""The loop with local updates of a language model to which results are told in the prompt."""

from __future__ import annotations

from typing import Any, cast

import torch

from twelvefold.core.seeds import torch_generator
from twelvefold.nn.pretrained import load_language_model
from twelvefold.papers.igda.discovery_study import experiments_per_round
from twelvefold.papers.igda.edge_model import ModelExpert
from twelvefold.papers.igda.edge_scoring import SEED
from twelvefold.papers.igda.logit_model import LogitEdgeModel, Prompt
from twelvefold.papers.igda.loop import Policy, discover
from twelvefold.tasks.causal_graphs import load_graph


def density_of(variables: int, edges_per_variable: float) -> float:
    """Share of the n (n - 1) pairs that are edges when there are so many edges per variable, at most 1/2."""
    return min(0.5, edges_per_variable / (variables - 1))


def updated_by_prompt(
    network: str, prompt: str, edges_per_variable: float, centred: bool, rounds: int, tested_share: float, model: str,
    device: str | torch.device = "cpu", dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """F1 of IGDA with updates by the prompt, under real names, to be kept by a sweep.

    Args:
        network: name. prompt: "chat", "few-shot" or "pmi". edges_per_variable: assumed. centred: see
            `logit_model.offsets`. rounds: R. tested_share: of all pairs, after R rounds. model: see
            `load_language_model`.

    Returns:
        `f1 [R + 1]` over all pairs and `f1_untested [R + 1]`.

    Raises:
        ValueError: as `LogitEdgeModel` and `discover`.
    """
    graph, asked = load_graph(network), load_language_model(model, device=device, dtype=getattr(torch, dtype))
    believer = LogitEdgeModel(asked, cast(Prompt, prompt), density_of(graph.size, edges_per_variable), centred)
    made = discover(ModelExpert(believer, graph, torch_generator(SEED, 0, "nothing is drawn")), graph.edges, Policy(),
                    replicates=1, rounds=rounds, generator=torch_generator(SEED, 0, f"ties on {network}"),
                    experiments=experiments_per_round(graph.size, rounds, tested_share))  # fmt: skip
    return {"f1": made.f1[0], "f1_untested": made.f1_untested[0]}
