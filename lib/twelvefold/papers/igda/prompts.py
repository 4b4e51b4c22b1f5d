"""What language models are asked about edges: the texts, in words of this project (the paper's are not known).

Every text names direct causation, because a graph holds direct edges alone while "does A affect B" asks for any path.
What was found so far enters as the results that share a variable with the pair in question, newest last. `VERSION`
belongs to every recorded answer: whoever changes a text here raises it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from twelvefold.papers.igda.edge_model import Result
from twelvefold.tasks.causal_graphs import CausalGraph

VERSION = "1"
YES, NO = "Yes", "No"
Messages = Sequence[Mapping[str, str]]  # each with "role" and "content"

_JSON = 'Reply with JSON alone: {"answer": "yes" or "no", "confidence": your confidence in this answer from 0 to 100}.'
_LIST = (
    'Reply with JSON alone: a list of pairs of names as they are spelt above, each ["cause", "effect"], the most '
    "important pair first."
)
_EXAMPLES = (  # of no domain of the published networks; yes and no alike often
    ("the length of a pendulum", "the time that one swing takes", True),
    ("the number of candles on a cake", "the age of the person it is for", False),
    ("the number of umbrellas that people carry", "the amount of rain that falls", False),
    ("the time for which bread is baked", "the colour of its crust", True),
)


def shared_results(results: Sequence[Result], i: int, j: int) -> list[Result]:
    """The results that share a variable with the pair (i, j), newest last; the order within a round is kept."""
    near = [result for result in results if {result.i, result.j} & {i, j}]
    return sorted(near, key=lambda result: result.round)


def chat_messages(
    graph: CausalGraph, i: int, j: int, results: Sequence[Result] = (), earlier: float | None = None
) -> Messages:
    """Ask for an answer and a confidence as JSON; the messages of all pairs begin with the same list of variables.

    Args:
        graph: whose variables are described. i, j: the pair in question. results: all results so far.
        earlier: the own belief of before, in [0, 1]; None or NaN: there is none.
    """
    asked = f"{_question(graph, i, j)} Directly means: not only by way of other variables of the list.\n{_JSON}"
    parts = [_listed(graph), *_known(graph, i, j, results, earlier), asked]
    return _messages(graph, "\n\n".join(parts))


def choice_messages(graph: CausalGraph, count: int, results: Sequence[Result] = ()) -> Messages:
    """Ask which pairs to test next, as JSON; begins with the list of variables, as `chat_messages`.

    Args:
        graph: whose variables are described. count: how many pairs are wanted. results: all results so far; all of
            them are told, newest last.
    """
    lines = [f"- {graph.variables[r.i]} -> {graph.variables[r.j]}: {YES if r.present else NO}."
             for r in sorted(results, key=lambda result: result.round)]  # fmt: skip
    known = ["Experiments have answered for these pairs whether the first variable directly causes a change in the "
             "second, the newest last:\n" + "\n".join(lines)] if lines else []  # fmt: skip
    one = count == 1
    asked = (f"An experiment on an ordered pair of variables tells whether the first directly causes a change in the "
             f"second. Directly means: not only by way of other variables of the list. Which {count} "
             f"{'pair' if one else 'pairs'} that {'has' if one else 'have'} not been tested should be tested next, so "
             f"that the whole graph of direct causes is known as soon as possible?\n{_LIST}")  # fmt: skip
    return _messages(graph, "\n\n".join([_listed(graph), *known, asked]))


def yes_no_messages(
    graph: CausalGraph, i: int, j: int, results: Sequence[Result] = (), earlier: float | None = None
) -> Messages:
    """Ask for one word; arguments as `chat_messages`. Only the two variables are described, which keeps it short."""
    asked = (f"{_question(graph, i, j)} Directly means: not only by way of something else. "
             f"Answer {YES} or {NO}.")  # fmt: skip
    return _messages(graph, "\n\n".join([*_known(graph, i, j, results, earlier), asked]))


def few_shot_text(graph: CausalGraph, i: int, j: int, results: Sequence[Result] = ()) -> str:
    """Examples with their answers, then the results as further ones, then the question; " Yes" or " No" follows.

    Arguments as `chat_messages`; an earlier belief of one's own has no place among examples.
    """
    known = [(graph.phrases[r.i], graph.phrases[r.j], r.present) for r in shared_results(results, i, j)]
    solved = [f"Question: {_asks(cause, effect)}\nAnswer: {YES if present else NO}\n\n"
              for cause, effect, present in [*_EXAMPLES, *known]]  # fmt: skip
    return f"{''.join(solved)}Question: {_question(graph, i, j)}\nAnswer:"


def effect_texts(graph: CausalGraph, i: int, j: int, results: Sequence[Result] = ()) -> tuple[str, str]:
    """Two texts that a blank and the phrase of variable j continue: one that names the cause i, one that does not.

    How much likelier the phrase is after the first says how much the cause speaks for the effect. Arguments as
    `chat_messages`.
    """
    words = [(graph.phrases[r.i], "is" if r.present else "is not", graph.phrases[r.j])
             for r in shared_results(results, i, j)]  # fmt: skip
    known = "".join(f"it is known that a direct effect of {a} {verb} a change in {b}. " for a, verb, b in words)
    return f"{known}a direct effect of {graph.phrases[i]} is a change in", f"{known}there is a change in"


def chat_text(tokenizer: Any, messages: Messages) -> str:
    """Messages in the form that a chat model was trained on, up to where its answer begins.

    A template that knows no system message gets it as the beginning of the first message of the user.

    Raises:
        ValueError: a tokenizer without a chat template.
    """
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(f"tokenizer {type(tokenizer).__name__} has no chat template; a chat model is needed, or a "
                         "prompt that is no conversation ('few-shot', 'pmi')")  # fmt: skip
    plain = [dict(message) for message in messages]
    try:
        return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        system, user, *rest = plain
        joined = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]
        return str(tokenizer.apply_chat_template(joined, tokenize=False, add_generation_prompt=True))


def _messages(graph: CausalGraph, user: str) -> Messages:
    return ({"role": "system", "content": f"You are an expert in {graph.domain}."}, {"role": "user", "content": user})


def _listed(graph: CausalGraph) -> str:
    listed = "\n".join(f"- {name}: {phrase}" for name, phrase in zip(graph.variables, graph.phrases, strict=True))
    return f"The variables are:\n{listed}"


def _asks(cause: str, effect: str) -> str:
    return f"Does {cause} directly cause a change in {effect}?"


def _question(graph: CausalGraph, i: int, j: int) -> str:
    return _asks(graph.phrases[i], graph.phrases[j])


def _known(graph: CausalGraph, i: int, j: int, results: Sequence[Result], earlier: float | None) -> list[str]:
    """Paragraphs of what is known beforehand; none before the first experiment."""
    parts = []
    if near := shared_results(results, i, j):
        lines = [f"- {_question(graph, r.i, r.j)} {YES if r.present else NO}." for r in near]
        parts.append("Experiments have answered these questions, the newest last:\n" + "\n".join(lines))
    if earlier is not None and not math.isnan(earlier):
        answer, confidence = (YES, earlier) if earlier > 0.5 else (NO, 1 - earlier)
        parts.append(f"Your earlier answer to the question below was {answer.lower()}, with confidence "
                     f"{100 * confidence:.0f}. Reconsider it.")  # fmt: skip
    return parts
