"""Record what SmolLM2 says of edges: `python -m twelvefold.papers.igda.score_recording data/derived`.

The command writes a file of float32 score matrices `[n, n]`, keyed "network/prompt/names" or, where there are several
wordings, "network/prompt/names/number"; two runs of the loop in which results enter the prompt, keyed
"network/prompt/updated/..."; and a few answers in words. It takes about a quarter of an hour on one core; a matrix
that was computed once is kept in the cache, so a second run goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.core import data
from twelvefold.core.sweep import sweep
from twelvefold.nn.pretrained import BUNDLED, load_language_model
from twelvefold.papers.igda.chat_backends import TransformersChat
from twelvefold.papers.igda.chat_model import ChatEdgeModel
from twelvefold.papers.igda.edge_scoring import scored_by_prompt, scored_by_wording
from twelvefold.papers.igda.prompt_update import updated_by_prompt
from twelvefold.papers.igda.prompts import VERSION
from twelvefold.papers.igda.replay import RecordReplay
from twelvefold.papers.igda.wordings import (
    CENTRED,
    COUNTS,
    EDGES_PER_VARIABLE,
    PROMPT,
    WORDINGS,
    WORDINGS_VERSION,
)
from twelvefold.tasks.causal_graphs import load_graph

DATASET, SCORES, ANSWERS = "edge_scores", "edge_scores.safetensors", "edge_answers.jsonl"
DTYPE = "float32"
PROMPTS = ("chat", "few-shot", "pmi")
CHOOSING, UPDATED, ANSWERED = ("cancer", "sachs", "insurance"), "cancer", "cancer"
ROUNDS, TESTED_SHARE = 8, 0.3  # of the loop in which results enter the prompt
SAMPLES, LONGEST = 2, 60  # answers in words to each question, and tokens of one; what is asked for has about 20


class Recording(NamedTuple):
    """One call of a sweep, and the names under which parts of its result are kept."""

    keys: Mapping[str, str]
    function: Callable[..., Mapping[str, Any]]
    point: dict[str, Any]


def recordings() -> Iterator[Recording]:
    """Everything that is recorded, small networks first."""
    for network in CHOOSING:
        for prompt in PROMPTS:
            yield Recording({"scores": f"{network}/{prompt}/real"}, scored_by_prompt,
                            {"network": network, "prompt": prompt, "model": BUNDLED})  # fmt: skip
    for (network, names), count in COUNTS.items():
        for number, wording in enumerate(WORDINGS[:count]):
            yield Recording({"scores": f"{network}/{PROMPT}/{names}/{number}"}, scored_by_wording,
                            {"network": network, "names": names, "draw": number, "wording": list(wording),
                             "model": BUNDLED})  # fmt: skip
    yield Recording({part: f"{UPDATED}/{PROMPT}/updated/{part}" for part in ("f1", "f1_untested")}, updated_by_prompt,
                    {"network": UPDATED, "prompt": PROMPT, "edges_per_variable": EDGES_PER_VARIABLE,
                     "centred": CENTRED, "rounds": ROUNDS, "tested_share": TESTED_SHARE, "model": BUNDLED})  # fmt: skip


def asked_pairs() -> Tensor:
    """Pairs about which answers in words are recorded `[E, 2]`: the edges of a network, then their reverses."""
    edges = load_graph(ANSWERED).edges.nonzero()
    return torch.cat([edges, edges.flip(1)])


@cache
def recorded_scores() -> Mapping[str, Tensor]:
    """The recorded matrices by key.

    Raises:
        DataMissing, DataDamaged: see `core.data.load`.
    """
    from safetensors.torch import load_file

    return load_file(_files()[SCORES])


def answering_model(backend: TransformersChat | None = None, path: Path | None = None) -> ChatEdgeModel:
    """The model that answers in words: replayed from the recorded file, or asked where a backend is given.

    Args:
        backend: who is asked for what is not recorded. path: of the file; None: the recorded one.

    Raises:
        DataMissing, DataDamaged: see `core.data.load`.
    """
    answers = path or _files()[ANSWERS]
    recorded = RecordReplay(f"{BUNDLED} ({DTYPE})", answers) if backend is None else RecordReplay(
        backend, answers, "auto")  # fmt: skip
    return ChatEdgeModel(recorded, density=0.5, samples=SAMPLES, max_tokens=LONGEST)


def _files() -> dict[str, Path]:
    return {file.name: file for file in data.load(DATASET)["files"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Record scores and answers of SmolLM2 in a folder."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the files go, e.g. data/derived")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Tensor] = {}
    for keys, function, point in recordings():
        (made,) = sweep(function, [point], dtype=DTYPE, label=next(iter(keys.values())))
        kept |= {key: torch.as_tensor(made[part]).float().contiguous() for part, key in keys.items()}
    about = {"model": BUNDLED, "weights": data.status(BUNDLED).sha256, "prompts": VERSION,
             "wordings": WORDINGS_VERSION, "dtype": DTYPE}  # fmt: skip
    # one entry: the file does not keep the order of several
    save_file(kept, folder / SCORES, metadata={"made with": json.dumps(about)})
    model = answering_model(TransformersChat(load_language_model(BUNDLED)), folder / ANSWERS)
    found = model.beliefs(load_graph(ANSWERED), asked_pairs(), [], torch.Generator().manual_seed(0))
    print(f"{len(kept)} arrays; {found.n_failed} of {SAMPLES * len(found.p)} answers could not be read", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
