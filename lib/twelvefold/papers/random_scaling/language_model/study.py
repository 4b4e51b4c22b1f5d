"""One run of the language-model study, the points of its grid (share x run), and its table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.core import seeds
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.random_scaling.language_model import corpus, mmlu, model
from twelvefold.papers.random_scaling.language_model.local_data import TEXT, files, require_data
from twelvefold.papers.random_scaling.language_model.mixture import Mixture
from twelvefold.papers.random_scaling.language_model.training import held_out_loss, pretrain

# Values of preset paper. Only shares and runs are the paper's (the two shares we have seen named; it may have more).
LANGUAGE_MODEL_SCALE: dict[str, Any] = {
    "lm_shares": [0.075, 0.20],  # share of rows (and so of tokens) that are MMLU questions
    "lm_runs": 80,  # per share
    # Our choice, each of them:
    "lm_steps": 2_000,  # with the batch 33 million tokens: the new head and attention layer are learned, minutes a run
    "lm_batch": 32,  # rows of an update: 16,384 tokens
    "lm_micro_batch": 8,  # rows computed together: their logits, 8 x 512 x 151,936, take 2.5 GB in float32
    "lm_length": 512,  # tokens of a row: most questions with their choices fit several times
    "lm_learning_rate": 1e-4,  # peak; usual for continued pre-training of a model of this size
    "lm_warmup": 100,  # updates of linear warm-up, then a cosine to zero: the new head first sends noise back
    "lm_weight_decay": 0.1,  # with beta 0.9 and 0.95 and clip 1, the usual recipe of language models
    "lm_precision": "bfloat16",  # autocast; master weights and the letters' logits stay float32
    "lm_held_out": 256,  # rows of held-out web text for the pre-training loss: 131 thousand tokens, the same every run
    "lm_shots": 0,  # prompts as the training texts are; 5 is MMLU's own protocol, longer than the rows trained on
}


def language_model_run(
    share: float, run: int, seed: int, steps: int, batch: int, micro_batch: int, length: int, learning_rate: float,
    warmup: int, weight_decay: float, precision: str, held_out: int, shots: int, data: str, *,
    device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train and score one run of one share.

    New weights and the order of the data are drawn from base seed and run; both are the same at every share, so shares
    are paired by run. The pools of rows depend on the base seed only.

    Args:
        share: part of the rows that are MMLU questions, 0 to 1.
        run: number of the run. seed: base seed.
        steps, batch, micro_batch, length, learning_rate, warmup, weight_decay: see `LANGUAGE_MODEL_SCALE`.
        precision: "float32" or "bfloat16" (autocast).
        held_out: rows of held-out text for the pre-training loss.
        shots: answered dev questions before each test question.
        data: fingerprint of the local files (`require_data`), which must still be the one of this machine.
        device: where to train and score. checkpoint: given by the sweep.

    Returns:
        subjects: names `[S]`; correct, questions: int64 `[S]`, right answers and questions of each subject;
        gold_probability: float32 `[Q]`, probability of the right letter among four, subject by subject in the order of
        the files; loss: nats per token on held-out web text after training; training_loss: float32 `[steps]`;
        question_rows: how many of the steps x batch rows were questions; pools: rows of text and of questions to
        choose from (a pool smaller than what a run takes is gone through again).

    Raises:
        DataMissing, DataDamaged: weights or data are missing, damaged, or others than when the point was made.
        ValueError: an argument is out of range.
    """
    recipe = Recipe(steps, learning_rate, warmup, "cosine", beta2=0.95, weight_decay=weight_decay,
                    precision=precision)  # type: ignore[arg-type]
    if require_data() != data:
        raise datasets.DataDamaged(f"data = {data!r}, but the files of this machine have the fingerprint "
                                   f"{require_data()!r}; make the points again with language_model_points")
    text, questions, held = _pools(str(datasets.path(TEXT)), data, seed, steps * batch, length + 1, held_out)
    network = model.load_model(seeds.torch_generator(seed, run, "new weights"))
    network.to(torch.device(device))  # type: ignore[arg-type]  # transformers wraps `to` and loses its types
    mixture = Mixture(text, questions, share, seed, run)
    training_loss = pretrain(network, mixture, recipe, batch, micro_batch, checkpoint)
    subjects, scores = _answers(network, shots, precision)
    return {
        **_counts(subjects, scores.correct),
        "gold_probability": scores.gold_probability,
        "loss": held_out_loss(network, held, micro_batch, precision),
        "training_loss": training_loss,
        "question_rows": mixture.before(steps * batch),
        "pools": [len(text), len(questions)],
    }


@lru_cache(maxsize=1)  # the runs of a process share it: tokenising takes a minute at full size
def _pools(place: str, data: str, seed: int, rows: int, width: int, held_out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of web text, of questions (shuffled once, so that questions on one passage part) and of held-out text.

    place and data only say which files are meant.
    """
    config = model.model_config()
    tokenizer, end = model.load_tokenizer(config), model.separator(config)
    asked = mmlu.training_questions()
    order = seeds.numpy_generator(seed, 0, "packing of questions").permutation(len(asked))
    answered = (mmlu.question_text(asked[i], True) for i in order)
    text, held = (corpus.documents(files(TEXT, pattern)) for pattern in (corpus.TRAINING, corpus.HELD_OUT))
    return (corpus.packed(text, tokenizer, end, width, rows), corpus.packed(answered, tokenizer, end, width, rows),
            corpus.packed(held, tokenizer, end, width, held_out))


def _answers(network: Any, shots: int, precision: str) -> tuple[list[str], mmlu.Scores]:
    tokenizer = model.load_tokenizer(network.config)
    subjects, prompts, answers = mmlu.question_prompts(shots)
    encoded = [item.ids for item in tokenizer.encode_batch(prompts, add_special_tokens=False)]
    logits = mmlu.letter_logits(network, encoded, mmlu.letter_tokens(tokenizer), precision=precision)
    return subjects, mmlu.graded(logits, answers)


def _counts(subjects: Sequence[str], correct: np.ndarray) -> dict[str, Any]:
    """Right answers and questions of each subject; questions of one subject stand together."""
    grouped = [(name, len(list(group))) for name, group in groupby(subjects)]
    ends = np.cumsum([count for _, count in grouped])
    parts = np.split(correct.astype(np.int64), ends[:-1])
    return {"subjects": [name for name, _ in grouped], "correct": np.array([part.sum() for part in parts]),
            "questions": np.array([count for _, count in grouped], dtype=np.int64)}


def language_model_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """The points of `language_model_run`, share by share, at a scale that holds the names of `LANGUAGE_MODEL_SCALE`.

    Raises:
        DataMissing, DataDamaged: weights or data are not on this machine; the message says what to type.
    """
    data = require_data()
    return [
        {
            "share": share, "run": run, "seed": seed, "steps": scale.lm_steps, "batch": scale.lm_batch,
            "micro_batch": scale.lm_micro_batch, "length": scale.lm_length, "learning_rate": scale.lm_learning_rate,
            "warmup": scale.lm_warmup, "weight_decay": scale.lm_weight_decay, "precision": scale.lm_precision,
            "held_out": scale.lm_held_out, "shots": scale.lm_shots, "data": data,
        }
        for share in scale.lm_shares for run in range(scale.lm_runs)
    ]  # fmt: skip


def language_model_runs(points: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per run: share, run, accuracy, answer_probability, loss, questions.

    accuracy is over all test questions (every question counts the same, not every subject); answer_probability is the
    mean probability of the right letter among the four; loss is the final pre-training loss on held-out web text, in
    nats per token. (The paper's mean of 11.62 lies close to log 151,936 = 11.93, the loss of a model that knows
    nothing: it was measured otherwise or after very little training, so ours is not to be compared with it.)

    Raises:
        ValueError: points and results are not equally many.
    """
    return pd.DataFrame([
        {
            "share": point["share"], "run": point["run"],
            "accuracy": float(np.sum(result["correct"]) / np.sum(result["questions"])),
            "answer_probability": float(np.mean(result["gold_probability"], dtype=np.float64)),
            "loss": float(result["loss"]), "questions": int(np.sum(result["questions"])),
        }
        for point, result in zip(points, results, strict=True)
    ])  # fmt: skip
