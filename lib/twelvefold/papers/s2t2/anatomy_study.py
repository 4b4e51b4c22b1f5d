"""What a learnt plan is made of, while it is learnt: support, kinds of source tokens, and variants of the method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import exported, learn_plan
from twelvefold.papers.s2t2.anatomy import effective_sources, share_of_single, support
from twelvefold.papers.s2t2.bits_per_byte import Precision, score
from twelvefold.papers.s2t2.descent import Watching, draw_order
from twelvefold.papers.s2t2.plans import (
    Marginals,
    Plan,
    PlanModel,
    Potentials,
    draw_scores,
    marginals_of,
    plan_of,
    uniform_marginals,
    vectors_of,
)
from twelvefold.papers.s2t2.protein_problem import Problem, kept_problem, target_documents, token_frequencies
from twelvefold.papers.s2t2.source_models import Source, load_source, member_name
from twelvefold.papers.s2t2.tokenization import Vocabulary, tokens_made_of, vocabulary_of
from twelvefold.papers.s2t2.translation import source_given_target
from twelvefold.tasks.docstring_prose import docstring_paragraphs
from twelvefold.tasks.proteins import AMINO_ACIDS

BASE = "convex"  # the unchanged method
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    BASE: {}, "printed": {"norm": "printed"}, "bayes": {"norm": "bayes"}, "T1": {"iterations": 1},
    "T2": {"iterations": 2}, "T20": {"iterations": 20}, "unigram": {"marginals": "unigram"},
    "column_softmax": {"kind": "column_softmax"},
}  # fmt: skip
TOP = 8  # source tokens of a target token that are kept, the heaviest first
_VISIBLE = {code: f"\\x{code:02x}" for code in range(32)} | {ord("\n"): "\\n"}


class Case(NamedTuple):
    """What all variants of a training run share: source model, proteins, and how often each target token occurs."""

    source: Source
    problem: Problem
    frequencies: Tensor  # [u], float64, sums to one


def anatomy_run(
    seed: int, replicate: int, *, source: str, variant: dict[str, Any], proteins: str, limit: int | None,
    targets: int, length: int, training: int, validation: int, held_out: int, tokenizer_proteins: int | None,
    english: list[str], steps: int, batch: int, micro: int, rate: float, watched: list[int], precision: Precision,
    device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Learn one plan for one training run, looking at it on the way.

    Args:
        seed, replicate: of all draws; variants of a replicate share source model, split, texts, order and scores.
        source: name of the source model; "english small" takes that tiny model which belongs to the replicate.
        variant: fields of `PlanModel` that differ from its defaults, and "marginals": "uniform" or "unigram".
        proteins, limit, targets, length, training, held_out, tokenizer_proteins: as `compression_run`, `draw_problem`.
        validation: further training texts that are not learnt from, to choose a learning rate with.
        english: packages whose docstrings tell how often a source token occurs ("unigram" marginals alone).
        steps, batch, micro, rate, precision: of learning. watched: steps after which the plan is looked at.

    Returns:
        columns: per watched step, 0 included, what `composition` finds. bits, validation_bits (None without such
        texts): bits per residue at the end. first_bits: of the first batch, before the first update. embedding_scale,
        head_scale: mean norm of the rows of E' and L' over that of E and L. tokens: per target token its text,
        frequency and heaviest source tokens, most frequent first. tokenizer: of the target, see `target_vocabulary`.

    Raises:
        ValueError: an argument that is not accepted. FloatingPointError: the loss is not finite.
    """
    case = prepared(member_name(source, replicate), str(device), seed, replicate, proteins, limit, targets, length,
                    training + validation, held_out, tokenizer_proteins)  # fmt: skip
    how = PlanModel(**{name: value for name, value in variant.items() if name != "marginals"})
    marginals = marginals_by_name(variant.get("marginals", "uniform"), case, english)
    scores = draw_scores(how, marginals, torch_generator(seed, replicate, "plan scores"))
    classes = token_classes(case)

    def look(step: int, at: Tensor, start: Potentials | None) -> dict[str, Any]:
        with torch.no_grad():
            return {"step": step, **composition(plan_of(how, at, marginals, start).weights, marginals, case, classes)}

    watching = Watching(lambda state: look(state["step"], state["leaves"]["scores"].detach(),
                                           state["kept"].get("potentials")),
                        watched, checkpoint, look(0, scores, None))  # fmt: skip
    documents = target_documents(case.problem, case.problem.training[validation:])
    order = draw_order(len(documents), steps, batch, torch_generator(seed, replicate, "order of texts"))
    recipe = Recipe(steps=steps, learning_rate=rate, decay="cosine", precision=precision)
    learnt = learn_plan(case.source.model, case.source.vectors, how, marginals, scores, documents, order, recipe,
                        micro=micro, checkpoint=watching, label=f"plan {replicate}")  # fmt: skip
    plan = exported(how, learnt, marginals)
    ends = _ends(case, how, plan, validation, precision)
    columns = {name: [seen[name] for seen in watching.seen] for name in watching.seen[0]}
    return {"columns": columns, "first_bits": float(learnt.losses[0]) / math.log(2), **ends,
            "tokens": target_tokens(plan.weights, case),
            "tokenizer": case.problem.target.tokenizer.to_str()}  # fmt: skip


@lru_cache(maxsize=1)
def prepared(
    source: str, device: str, seed: int, replicate: int, proteins: str, limit: int | None, targets: int, length: int,
    training: int, held_out: int, tokenizer_proteins: int | None,
) -> Case:  # fmt: skip
    """The case of a training run, kept until another one is asked for; arguments as `draw_problem`."""
    problem = kept_problem(proteins, limit, seed, replicate, targets=targets, length=length, training=training,
                         held_out=held_out, tokenizer_proteins=tokenizer_proteins)  # fmt: skip
    return Case(load_source(source, device=device), problem, token_frequencies(problem.target, problem.training))


def marginals_by_name(name: str, case: Case, english: list[str]) -> Marginals:
    """Masses of source and target tokens.

    Args:
        name: "uniform", or "unigram": source tokens as in English prose, target tokens as in the training proteins.
        case: of the training run. english: packages; Python's own help topics are always read.

    Raises:
        ValueError: another name.
    """
    device = case.source.vectors.embedding.device
    if name == "uniform":
        return uniform_marginals(len(case.source.kept), len(case.problem.target), device)
    if name != "unigram":
        raise ValueError(f"marginals = {name!r}; known are 'uniform' and 'unigram'")
    paragraphs = _prose(tuple(english))
    made = marginals_of(token_frequencies(case.source.vocabulary, paragraphs), case.frequencies)
    return Marginals(made.source.to(device), made.target.to(device))


@cache
def _prose(packages: tuple[str, ...]) -> list[str]:
    return docstring_paragraphs(packages)


class Classes(NamedTuple):
    """Which source tokens are made of amino-acid letters `[v]`, and which share a letter with a target `[v, u]`."""

    letters: Tensor
    shared: Tensor


def token_classes(case: Case) -> Classes:
    """Sort source tokens by their letters; the case of a letter counts: a protein is written in capitals."""
    source, target = case.source.vocabulary, case.problem.target
    device = case.source.vectors.embedding.device
    letters = torch.zeros(len(source), dtype=torch.bool)
    letters[tokens_made_of(source, AMINO_ACIDS)] = True
    letters[source.separator_id] = False
    shared = _letters_of(source) @ _letters_of(target).T > 0
    return Classes(letters.to(device), shared.to(device))


def _letters_of(vocabulary: Vocabulary) -> Tensor:
    """Whether token i holds amino acid a `[n, 20]`, as 0 and 1."""
    return torch.tensor([[float(letter.encode() in piece) for letter in AMINO_ACIDS] for piece in vocabulary.pieces])


def composition(plan: Tensor, marginals: Marginals, case: Case, classes: Classes) -> dict[str, float]:
    """What a plan `[v, u]` is made of.

    Returns:
        support, effective: mean number of source tokens of a target token, counted, and as exp of the entropy.
        single: share of target tokens that are one source token. misplaced: share of the mass in a wrong row.
        letters, shared: share of the weight on source tokens made of amino-acid letters, and on those that share a
        letter with the target token, of target tokens weighted by how often they occur. letters_of_mass: the share of
        the plan's mass on the former, which exact uniform marginals fix.
    """
    weights = source_given_target(plan)  # P(s | t) [v, u]
    use = case.frequencies.to(weights)
    wrong = (plan.sum(1) - marginals.source).abs().sum() / (2 * marginals.source.sum())
    return {
        "support": float(support(plan).float().mean()), "effective": float(effective_sources(plan).mean()),
        "single": share_of_single(plan), "misplaced": float(wrong),
        "letters": float(weights[classes.letters].sum(0) @ use),
        "shared": float((weights * classes.shared).sum(0) @ use),
        "letters_of_mass": float(plan[classes.letters].sum() / plan.sum()),
    }  # fmt: skip


def _ends(case: Case, how: PlanModel, plan: Plan, validation: int, precision: Precision) -> dict[str, Any]:
    """Bits per residue and scale of the vectors, when learning is over."""
    source, problem = case.source, case.problem
    with torch.no_grad():
        vectors = vectors_of(how, plan, source.vectors)

    def bits(texts: list[str]) -> float:
        made = score(source.model, vectors, target_documents(problem, texts), precision=precision)
        return made.bits_per_byte

    pairs = zip(("embedding_scale", "head_scale"), vectors, source.vectors, strict=True)
    scales = {name: float(made.norm(dim=1).mean() / given.norm(dim=1).mean()) for name, made, given in pairs}
    return {"bits": bits(problem.held_out), **scales,
            "validation_bits": bits(problem.training[:validation]) if validation else None}  # fmt: skip


def target_tokens(plan: Tensor, case: Case, count: int = TOP) -> list[dict[str, Any]]:
    """Every target token, most frequent first: its text, its share among target tokens, and its heaviest sources.

    Texts are in Python's notation without quotes, so that a line break and a space can be seen.
    """
    order = case.frequencies.argsort(descending=True, stable=True).tolist()
    weights, places = (made.T.cpu() for made in source_given_target(plan).topk(count, dim=0))  # [u, count]
    names, targets = case.source.vocabulary.pieces, case.problem.target.pieces
    rows = zip(order, weights[order].tolist(), places[order].tolist(), strict=True)
    return [{"token": printed(targets[t]), "frequency": float(case.frequencies[t]),
             "sources": [[printed(names[s]), weight] for s, weight in zip(chosen, masses, strict=True) if weight > 0]}
            for t, masses, chosen in rows]  # fmt: skip


def printed(piece: bytes) -> str:
    """A token as a reader can see it: in quotes when it holds anything but letters and digits."""
    text = piece.decode(errors="backslashreplace")
    return text if text.isalnum() else f"'{text.translate(_VISIBLE)}'"


def weighted(sources: Sequence[Sequence[Any]]) -> str:
    """Source tokens and their weights in one text, as `target_tokens` gives them."""
    return ", ".join(f"{name} {weight:.3f}" for name, weight in sources)


def target_vocabulary(result: Mapping[str, Any]) -> Vocabulary:
    """The target tokenizer of a result of `anatomy_run`."""
    from tokenizers import Tokenizer

    return vocabulary_of(Tokenizer.from_str(result["tokenizer"]))


def name_of(variant: Mapping[str, Any]) -> str:
    """The name in `VARIANTS` of the fields of a variant.

    Raises:
        ValueError: there is none.
    """
    for name, fields in VARIANTS.items():
        if dict(fields) == dict(variant):
            return name
    raise ValueError(f"variant = {variant!r}; known are {dict(VARIANTS)}")
