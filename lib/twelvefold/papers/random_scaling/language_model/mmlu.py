"""MMLU: reading the questions, their texts, and the score by the logit of the answer's letter."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.papers.random_scaling.language_model.local_data import QUESTIONS, files

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Qwen2ForCausalLM

LETTERS = "ABCD"
DEV, TEST, AUXILIARY = "dev/*_dev.csv", "test/*_test.csv", "auxiliary_train/*.csv"
_ANSWER = "Answer:"


class Question(NamedTuple):
    """A question with four choices; answer is the number of the right one, 0 to 3."""

    text: str
    choices: tuple[str, str, str, str]
    answer: int


class Scores(NamedTuple):
    """Of each question: correct `[Q]` (bool), and the probability of the right letter among the four, float32 `[Q]`."""

    correct: np.ndarray
    gold_probability: np.ndarray


def read_questions(file: Path) -> list[Question]:
    """Read a csv file without header whose rows are question, A, B, C, D, letter of the answer.

    Raises:
        DataDamaged: a row has another form, or there is none (file and line named).
    """
    questions = []
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            # not pandas: a choice may read "None" or "NA"
            questions = [_question(row, file, reader.line_num) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise datasets.damaged(QUESTIONS, f"{file} is not a csv file in UTF-8 ({error}); was it cut off?") from error
    if not questions:
        raise datasets.damaged(QUESTIONS, f"{file} has no row")
    return questions


def _question(row: list[str], file: Path, line: int) -> Question:
    where = f"{file}, row that ends in line {line}"
    if len(row) != 6:
        raise datasets.damaged(QUESTIONS, f"{where} has {len(row)} fields, expected are 6")
    if row[5].strip() not in tuple(LETTERS):
        raise datasets.damaged(QUESTIONS, f"{where} has the answer {row[5]!r}, expected is A, B, C or D")
    return Question(row[0], (row[1], row[2], row[3], row[4]), LETTERS.index(row[5].strip()))


def by_subject(pattern: str) -> dict[str, list[Question]]:
    """All questions of `DEV` or `TEST` by subject, which is the file's name without its ending."""
    ending = pattern.rpartition("*")[2]
    return {file.name.removesuffix(ending): read_questions(file) for file in files(QUESTIONS, pattern)}


def training_questions() -> list[Question]:
    """The questions that MMLU's makers give for training (auxiliary_train and dev), file by file; none of the test."""
    return [question for pattern in (AUXILIARY, DEV) for file in files(QUESTIONS, pattern)
            for question in read_questions(file)]


def question_text(question: Question, answered: bool) -> str:
    """The text of a question: itself, a line per lettered choice, and "Answer:", with the letter where `answered`.

    The line with the subject's name that is often put on top is left out, because the auxiliary questions have no
    subject, and training and test texts should have the same form (our choice).
    """
    lines = [question.text, *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=True))]
    return "\n".join([*lines, f"{_ANSWER} {LETTERS[question.answer]}" if answered else _ANSWER])


def question_prompts(shots: int) -> tuple[list[str], list[str], np.ndarray]:
    """The prompts of all test questions, subject by subject.

    Args:
        shots: answered questions of the same subject put before each, the first ones of the dev file (0 to 5).

    Returns:
        subject of each prompt, prompts, answers `[Q]` (0 to 3).

    Raises:
        ValueError: shots is negative. DataDamaged: a subject has fewer dev questions than that.
    """
    if shots < 0:
        raise ValueError(f"shots = {shots}; a number of at least 0 is needed")
    tests, examples = by_subject(TEST), by_subject(DEV) if shots else {}
    subjects, prompts, answers = [], [], []
    for subject, questions in tests.items():
        shown = examples.get(subject, [])[:shots]
        if len(shown) < shots:
            raise datasets.damaged(QUESTIONS, f"dev/{subject}_dev.csv has {len(shown)} questions, needed are {shots}")
        before = "".join(question_text(example, True) + "\n\n" for example in shown)
        subjects += [subject] * len(questions)
        prompts += [before + question_text(question, False) for question in questions]
        answers += [question.answer for question in questions]
    return subjects, prompts, np.array(answers, dtype=np.int64)


def letter_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens of the four letters as they follow "Answer:".

    Raises:
        ValueError: a letter with its space is not exactly one token of this tokenizer.
    """
    before = tokenizer.encode(_ANSWER, add_special_tokens=False).ids
    tokens = []
    for letter in LETTERS:
        ids = tokenizer.encode(f"{_ANSWER} {letter}", add_special_tokens=False).ids
        if ids[:-1] != before:
            raise ValueError(f"tokenizer: {_ANSWER + ' ' + letter!r} is {ids}; a letter behind {_ANSWER!r} ({before}) "
                             "must be one token")
        tokens.append(ids[-1])
    return tokens


@torch.no_grad()
def letter_logits(
    model: Qwen2ForCausalLM, prompts: Sequence[Sequence[int]], letters: Sequence[int], *,
    tokens: int = 16_384, precision: str = "float32",
) -> Tensor:  # fmt: skip
    """Logits of the four letters right behind each prompt.

    Prompts of similar length are computed together, padded on the right: attention is causal, so what follows the last
    token of a prompt cannot change it. Only the four rows of the head that matter are applied, in float32.

    Args:
        model: on any device.
        prompts: token ids.
        letters: the four tokens.
        tokens: largest size of one batch, padding included (a single longer prompt makes a batch of its own).
        precision: "float32" or "bfloat16" (autocast).

    Returns:
        float32 `[Q, 4]` on the CPU, in the order of the prompts.

    Raises:
        ValueError: a prompt is empty or longer than the model's positions.
    """
    longest = int(model.config.max_position_embeddings)
    for number, prompt in enumerate(prompts):
        if not 1 <= len(prompt) <= longest:
            raise ValueError(f"prompts[{number}] has {len(prompt)} tokens; accepted are 1 to {longest}")
    head = model.lm_head.weight[torch.tensor(letters, device=model.lm_head.weight.device)].float()
    logits = torch.empty(len(prompts), len(letters))
    for chosen in _batches([len(prompt) for prompt in prompts], tokens):
        ends = torch.tensor([len(prompts[i]) - 1 for i in chosen])
        ids = torch.zeros(len(chosen), int(ends.max()) + 1, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, : len(prompts[i])] = torch.tensor(prompts[i])
        with torch.autocast(head.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            hidden = model.model(input_ids=ids.to(head.device), use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(chosen), device=head.device), ends.to(head.device)].float()
        logits[chosen] = (last @ head.T).cpu()
    return logits


def _batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Numbers of prompts in batches, from short to long, each of at most `tokens` tokens with padding."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * lengths[i] > tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def graded(logits: Tensor, answers: np.ndarray) -> Scores:
    """Grade the four logits of each question `[Q, 4]` against the answers `[Q]`; of equal logits the first counts.

    The probability is a softmax over the four letters alone (our choice): how much of the whole vocabulary's mass is on
    letters says whether the form of an answer was learned, not which answer is right.

    Raises:
        ValueError: logits have another shape.
    """
    if logits.shape != (len(answers), len(LETTERS)):
        raise ValueError(f"logits has shape {list(logits.shape)}; needed is [{len(answers)}, {len(LETTERS)}]")
    probabilities = logits.float().softmax(1).numpy()
    return Scores(logits.numpy().argmax(1) == answers, probabilities[np.arange(len(answers)), answers])
