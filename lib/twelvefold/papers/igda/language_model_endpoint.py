"""A chat model behind an endpoint as the expert, K answers a pair, in the same conditions as the recorded one.

Under real names a unit is a set of K answers of its own; under other names it also has a renaming of its own. Every
answer is kept in the cache folder when it comes, so an interrupted run pays for nothing twice.
"""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from torch import Tensor

from twelvefold.core.project import cache_folder
from twelvefold.papers.igda.beliefs import belief_of_samples
from twelvefold.papers.igda.chat_backends import ChatBackend
from twelvefold.papers.igda.chat_model import ChatEdgeModel
from twelvefold.papers.igda.edge_scoring import renamed
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.http_chat import HTTPChat, SpendCap
from twelvefold.papers.igda.language_model_study import compared, word_beliefs
from twelvefold.papers.igda.prompt_update import density_of
from twelvefold.papers.igda.replay import RecordReplay
from twelvefold.tasks.causal_graphs import CausalGraph, load_graph

URL, MODEL, KEY = "TWELVEFOLD_CHAT_URL", "TWELVEFOLD_CHAT_MODEL", "TWELVEFOLD_CHAT_KEY"


def endpoint_of_environment() -> dict[str, str]:
    """Address and model of the endpoint that the environment names.

    Raises:
        ValueError: it names none; the message says what to set.
    """
    found = {"base_url": os.environ.get(URL, "").strip(), "model": os.environ.get(MODEL, "").strip()}
    if not all(found.values()):
        raise ValueError(
            f"{URL} = {found['base_url']!r}, {MODEL} = {found['model']!r}; preset paper asks a chat model: set {URL} "
            f"(what precedes /chat/completions), {MODEL} (its name there) and, where a key is needed, {KEY}"
        )
    return found


def split_beliefs(samples: Tensor, sets: int, prior: float) -> Tensor:
    """Beliefs of several sets of answers, `[sets, E]`.

    Args:
        samples: label and confidence `[E, sets * K, 2]`, NaN where an answer could not be read.
        sets: how many. prior: belief where no answer of a set can be read.
    """
    parts = samples.view(len(samples), sets, -1, 2).transpose(0, 1)  # [sets, E, K, 2]
    beliefs = torch.full(parts.shape[:2], prior, dtype=torch.float64)
    for place in torch.cartesian_prod(torch.arange(sets), torch.arange(len(samples))).tolist():
        own = parts[place[0], place[1]]
        own = own[~own[:, 0].isnan()]
        if len(own):
            beliefs[place[0], place[1]] = belief_of_samples(own[:, 0] == 1, own[:, 1])
    return beliefs


def asked_beliefs(backend: ChatBackend, graph: CausalGraph, samples: int, sets: int, prior: float) -> Tensor:
    """Beliefs in all pairs of a graph from K answers each, `[sets, n, n]`, float64, 0 on the diagonal.

    Args:
        backend: who answers. graph: whose edges are asked about. samples: K. sets: of K answers.
        prior: belief where no answer can be read.

    Raises:
        ValueError: as `ChatEdgeModel`. ChatError: the chat model does not answer.
    """
    every = pairs(graph.size)
    model = ChatEdgeModel(backend, prior, samples=samples * sets)
    found = model.beliefs(graph, every.nonzero(), [], torch.Generator().manual_seed(0)).samples
    assert found is not None  # a chat model samples
    beliefs = torch.zeros(sets, graph.size, graph.size, dtype=torch.float64)
    beliefs[:, every] = split_beliefs(found, sets, prior)
    return beliefs


def endpoint_runs(
    seed: int, network: str, base_url: str, model: str, samples: int, sets: int, requests: int, tokens: int,
    edges_per_variable: float, orders: int, rounds: int, tested_share: float,
) -> dict[str, Any]:  # fmt: skip
    """The loop with a chat model behind an endpoint, under all names, with its controls.

    Args:
        seed: of orders, deals and ties. network: name. base_url, model: see `HTTPChat`; the key is read from
            `$TWELVEFOLD_CHAT_KEY`, where that is set. samples: K. sets: number of units.
        requests, tokens: most that this network may cost. edges_per_variable: assumed where no answer can be read.
        orders, rounds, tested_share: see `compared`.

    Returns:
        As `compared`, with a column number.

    Raises:
        ValueError: as `HTTPChat`. ChatError: an answer is missing, or the cap is reached.
    """
    graph = load_graph(network)
    prior = density_of(graph.size, edges_per_variable)
    asked = HTTPChat(base_url, model, KEY if os.environ.get(KEY) else None, SpendCap(requests, tokens))
    file = cache_folder() / "edge_answers" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', model)}.jsonl"
    backend = RecordReplay(asked, file, "auto")
    real, words = asked_beliefs(backend, graph, samples, sets, prior), word_beliefs(graph, edges_per_variable)
    found: dict[str, dict[str, list[Any]]] = {"ends": {}, "rounds": {}}
    for number in range(sets):
        other = {names: asked_beliefs(backend, renamed(network, names, number), samples, 1, prior)[0]
                 for names in ("anonymised", "fictional")}  # fmt: skip
        made = compared(seed, network, number, {"real": real[number], **other, "words": words}, orders, rounds,
                        tested_share)  # fmt: skip
        for table, columns in made.items():
            columns["number"] = [number] * len(columns["condition"])
            for name, values in columns.items():
                found[table].setdefault(name, []).extend(values)
    return found
