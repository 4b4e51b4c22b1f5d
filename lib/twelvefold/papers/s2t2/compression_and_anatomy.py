"""Result 5: what a new tokenizer saves, and what a learnt plan is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import TRAINING_RUN, Claim, Estimate, above, below, within
from twelvefold.core.reporting import band_of, mean_and_error, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.anatomy_study import BASE
from twelvefold.papers.s2t2.compression_and_anatomy_rows import ENDS, MEASURES
from twelvefold.papers.s2t2.plots import arms
from twelvefold.papers.s2t2.plots import compression_and_anatomy as plots

DRAW = "data draw"
LARGE, SMALL = 512, 128  # target tokens that claims are about
MARGIN = 0.05  # bits per residue
STEP = 1e-4  # of bits and shares in the rows
TOKENIZERS = {"smollm2_135m": "SmolLM2's tokenizer", "english": "tiny English tokenizer",
              "olmo_1b": "OLMo's tokenizer"}  # fmt: skip
TITLES = {"support": "source tokens of a target token", "letters": "weight on amino-acid letters"}
_PAPER = "Feng et al. 2024 (arXiv 2411.00593)"
_NEW = "tokenizers of the source domain fit other domains badly, so that a new one is trained (abstract)"
_SPARSE = "the plan is sparse (title, figure 1)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "new-tokens-compress-better",
        f"A tokenizer of {LARGE} tokens, trained on proteins, packs more bytes of held-out proteins into a token than "
        "that of the real source model (SmolLM2; OLMo at paper): difference in bytes per token.",
        "direction", f"{_PAPER}, motivation", above(0.0), DRAW, paper_says=_NEW,
    ),
    Claim(
        "few-tokens-compress-worse",
        f"With {SMALL} target tokens it packs fewer: difference in bytes per token.",
        "direction", f"{_PAPER}, motivation; a warning added here", below(0.0), DRAW, paper_says=_NEW,
    ),
    Claim(
        "plan-gets-sparser",
        "Learning makes the plan sparser: source tokens of a target token after learning minus before.",
        "mechanism", f"{_PAPER}, figure 1", below(0.0), TRAINING_RUN, paper_says=_SPARSE,
    ),
    Claim(
        "printed-normalisation-costs-more",
        "Embeddings normalised as printed cost more than convex combinations: bits per residue, each plan learnt with "
        "its own normalisation.",
        "mechanism", f"{_PAPER}, section 2, formula of E'", above(0.0), TRAINING_RUN,
        paper_says="normalising by the marginals matters, so that new and old vectors have one scale (page 2); the "
        "formula printed there and the convex combination of figure 1 differ",
    ),
    Claim(
        "five-iterations-suffice",
        f"T = 5 iterations of the projection are as good as 20: bits per residue within {MARGIN:g} of each other.",
        "mechanism", f"{_PAPER}, section 2, sparse Sinkhorn", within(-MARGIN, MARGIN), TRAINING_RUN,
        paper_says="how many iterations are made is not known",
    ),
    Claim(
        "letters-are-preferred",
        "Learning moves weight to source tokens made of amino-acid letters: their share in target tokens, weighted by "
        "how often these occur, after learning minus in the random plan before.",
        "mechanism", f"{_PAPER}, figure 1; the measure is added here", above(0.0), TRAINING_RUN,
        paper_says="not known; source tokens are combined as the loss wants it (page 2)",
    ),
)  # fmt: skip


def _scale(study: Study) -> Any:
    assert study.scale_values is not None  # a study has its scale before it has runs
    return study.scale_values


def _texts(study: Study, runs: pd.DataFrame) -> str:
    """What texts a caption speaks of."""
    scale, draws = _scale(study), rows_of(runs, what="compression")["replicate"].nunique()
    data = ("proteins of one bacterial genome (a stand-in for UniRef50)" if scale.common["proteins"] != "uniref50"
            else "UniRef50 proteins")  # fmt: skip
    return f"Held out: {scale.common['held_out']} {data}, {draws} data draws."


def _runs(study: Study, runs: pd.DataFrame) -> str:
    """What training runs a caption speaks of."""
    scale, count = _scale(study), rows_of(runs, what="variant")["replicate"].nunique()
    tiny = scale.learning["source"].startswith("english ")
    model = "tiny English models trained here (a stand-in for OLMo-1B)" if tiny else scale.learning["source"]
    return f"{count} training runs of {scale.learning['steps']} steps with {model}, u = {scale.learning['targets']}."


def _real_source(study: Study) -> str:
    return str(_scale(study).sources[0])


def _by_size(runs: pd.DataFrame) -> pd.DataFrame:
    """Means and 95 % intervals over data draws, by number of target tokens."""
    rows = {}
    for size, part in rows_of(runs, what="compression", kind="target").groupby("tokens"):
        rows[int(size)] = {
            f"{short}{end}": value
            for short, name in (("bytes", "bytes_per_token"), ("bits", "bits"))
            for end, value in zip(("", "_low", "_high"), band_of(part[name].to_numpy(float)), strict=True)
        }
    return pd.DataFrame(rows).T


def compression_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bytes per token, and the cost of independent tokens, against the number of target tokens."""
    sources = rows_of(runs, what="compression", kind="source").groupby("name", sort=False)["bytes_per_token"].mean()
    levels = {TOKENIZERS.get(str(name), str(name)): float(value) for name, value in sources.items()}
    unigram = float(rows_of(runs, what="reference", name="unigram")["bits"].mean())
    caption = (
        "Left: bytes that a token of held-out proteins stands for, by the number of tokens of a tokenizer trained on "
        "proteins; dashed: tokenizers of source models. Right: bits per residue when target tokens are drawn "
        "independently, by their counts in training texts; dashed: the same for residues. Points: means over data "
        f"draws; bars: their 95 % intervals (mostly within the points). {_texts(study, runs)}"
    )
    alt = "Against the number of target tokens: bytes per token rise, bits of independent tokens hardly move."
    study.figure(plots.compression_figure(_by_size(runs), levels, unigram), "compression", caption, alt)


def compression_table(study: Study, runs: pd.DataFrame) -> None:
    """The same in numbers, with the number of entries of the plan."""
    sources = rows_of(runs, what="compression", kind="source", name=_real_source(study))
    rows = []
    for (kind, name), part in rows_of(runs, what="compression").groupby(["kind", "name"], sort=False):
        count = int(part["tokens"].iloc[0])
        entries = count * int(sources["tokens"].iloc[0]) / 1e6 if kind == "target" else None
        named = [("bytes_per_token", part["bytes_per_token"]), ("bits", part["bits"])]
        rows.append(summary_row({"tokenizer": TOKENIZERS.get(str(name), str(name)), "tokens": count,
                                 "million_weights": entries}, named))  # fmt: skip
    for name, part in rows_of(runs, what="reference").groupby("name", sort=False):
        bits, error = mean_and_error(part["bits"])
        rows.append({"tokenizer": arms.REFERENCES[str(name)], "bits": bits, "bits_se": error})
    caption = (
        "Bytes per token of held-out proteins; bits per residue of independent tokens (counts in training texts plus "
        f"one), with references; and weights of a plan from the {int(sources['tokens'].iloc[0]):,} tokens of "
        f"{TOKENIZERS.get(_real_source(study), _real_source(study))}. Means and standard errors over data draws. "
        f"{_texts(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "compression", caption, "summary", empty="not defined for this row.")


def training_figure(study: Study, runs: pd.DataFrame) -> None:
    """Support, and weight on amino-acid letters, while plans are learnt."""
    steps = rows_of(runs, what="step")
    curves = {measure: {str(name): _curve(part, measure) for name, part in steps.groupby("name", sort=False)
                        if name in plots.STYLES} for measure in TITLES}  # fmt: skip
    curves["support"].pop(plots.SOFTMAX, None)  # it uses every source token, far above the others
    caption = (
        "Plans while they are learnt. Left: source tokens with a positive weight in a target token, mean over target "
        "tokens (a column softmax would use all). Right: share of the weight on source tokens that consist of "
        "amino-acid letters, target tokens counted by how often they occur. Lines: mean over training runs; bands: its "
        f"95 % interval. {_runs(study, runs)}"
    )
    alt = "Against steps of learning: the number of source tokens per target token, and the weight on letters."
    study.figure(plots.training_figure(curves, TITLES), "training", caption, alt)


def _curve(part: pd.DataFrame, measure: str) -> pd.DataFrame:
    bands = {int(step): band_of(rows[measure].to_numpy(float)) for step, rows in part.groupby("step")}
    return pd.DataFrame(bands, index=["centre", "low", "high"]).T


def _at_end(runs: pd.DataFrame, name: str, measure: str) -> pd.Series:
    """A number per training run, by replicate."""
    return rows_of(runs, what="variant", name=name).set_index("replicate")[measure].sort_index()


def _names(runs: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows_of(runs, what="variant")["name"]))


def variants_figure(study: Study, runs: pd.DataFrame) -> None:
    """What each change of the method costs, in bits per residue."""
    base = _at_end(runs, BASE, "bits")
    differences = {name: _at_end(runs, name, "bits") - base for name in _names(runs) if name != BASE}
    bands = {name: band_of(values) for name, values in differences.items()}
    caption = (
        "Bits per residue of held-out proteins with a change of the method, minus those without (convex normalisation, "
        "T = 5, uniform marginals); to the right is worse. Small dots: training runs; marks: their mean with its 95 % "
        f"interval. {_texts(study, runs)} {_runs(study, runs)}"
    )
    alt = "One row per variant: differences of training runs and their mean, beside a line at zero."
    study.figure(plots.variants_figure(differences, bands), "variants", caption, alt)


def bits_table(study: Study, runs: pd.DataFrame) -> None:
    """Bits per residue and the scale of the vectors by variant, with references."""
    rows = []
    for name in _names(runs):
        named = [(column, _at_end(runs, name, column)) for column in ENDS]
        rows.append(summary_row({"variant": plots.LABELS[name]}, named))
    size = _scale(study).learning["targets"]
    independent = rows_of(runs, what="compression", kind="target", tokens=size)["bits"]
    cheap = {"unigram": rows_of(runs, what="reference", name="unigram")["bits"], "token_unigram": independent,
             "gzip": rows_of(runs, what="reference", name="gzip")["bits"]}  # fmt: skip
    rows += [summary_row({"variant": arms.REFERENCES[name]}, [("bits", bits)]) for name, bits in cheap.items()]
    caption = (
        "Bits per residue of held-out proteins after learning, of the first training batch before (first_bits), and "
        "mean norm of the rows of E' and L' over that of the rows of E and L (embedding_scale, head_scale); below, "
        f"references. Means and standard errors over training runs. {_texts(study, runs)} {_runs(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "bits", caption, "summary", empty="not defined for a reference.")


def anatomy_table(study: Study, runs: pd.DataFrame) -> None:
    """What plans are made of, by variant, and the random plan before learning."""
    start = rows_of(runs, what="step", name=BASE, step=0)
    rows = [summary_row({"variant": "before learning"}, [(m, start[m]) for m in MEASURES])]
    rows += [summary_row({"variant": plots.LABELS[name]}, [(m, _at_end(runs, name, m)) for m in MEASURES])
             for name in _names(runs)]  # fmt: skip
    caption = (
        "Source tokens of a target token, counted (support) and as exp of the entropy (effective); share of target "
        "tokens that are one source token (single); share of the mass in a wrong row (misplaced); share of the weight "
        "on source tokens that are amino-acid letters (letters) or share one with the target token (shared), target "
        "tokens counted by how often they occur; share of the plan's mass on such letters (letters_of_mass). Means and "
        f"standard errors over training runs. {_runs(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "anatomy", caption, "summary")


def tokens_table(study: Study, runs: pd.DataFrame) -> None:
    """The heaviest source tokens of the most frequent target tokens."""
    frame = rows_of(runs, what="token")[["token", "frequency", "sources"]]
    caption = (
        "The most frequent target tokens of the first training run, their share among all, and the source tokens that "
        f"weigh most in them, with weights (sparse Sinkhorn, convex, T = 5). {_runs(study, runs)}"
    )
    study.table(frame, "tokens", caption, "same machine")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    rows = rows_of(runs, what="compression").set_index("replicate").sort_index()
    real = rows.loc[rows["name"] == _real_source(study), "bytes_per_token"]
    for id, size in (("new-tokens-compress-better", LARGE), ("few-tokens-compress-worse", SMALL)):
        ours = rows.loc[(rows["kind"] == "target") & (rows["tokens"] == size), "bytes_per_token"]
        study.decide(id, _over_draws(study, ours, real))
    start = rows_of(runs, what="step", name=BASE, step=0).set_index("replicate").sort_index()
    for id, measure in (("plan-gets-sparser", "support"), ("letters-are-preferred", "letters")):
        study.decide(id, paired(study, _at_end(runs, BASE, measure), start[measure], STEP))
    for id, first, second in (("printed-normalisation-costs-more", "printed", BASE),
                              ("five-iterations-suffice", BASE, "T20")):  # fmt: skip
        study.decide(id, paired(study, _at_end(runs, first, "bits"), _at_end(runs, second, "bits"), STEP))


def _over_draws(study: Study, first: pd.Series, second: pd.Series) -> Estimate | None:
    """Interval of the mean paired difference over data draws; None for fewer than two."""
    if len(first) < 2:
        return None
    return statistics.difference(first, second, unit=DRAW, level=study.level, resolution=STEP)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    compression_figure, compression_table, training_figure, anatomy_table, tokens_table, variants_figure, bits_table,
    decisions,
)  # fmt: skip
