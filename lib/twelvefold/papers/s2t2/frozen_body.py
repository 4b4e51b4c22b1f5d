"""Result 2: with a frozen body, which plan from source to target tokens gives the fewest bits per residue?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import TRAINING_RUN, Claim, below
from twelvefold.core.reporting import FIGURE_LEVEL, band_of, count_cells, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.frozen_body_rows import REFERENCES, chosen, network_setting, per_run, setting
from twelvefold.papers.s2t2.frozen_body_study import LEARNT
from twelvefold.papers.s2t2.plots import frozen_body as plots

SPARSE = "sparse_sinkhorn"
TEST_ITEM = "test item"
NEAR = 0.2  # bits: arms whose differences can share an axis
STEP = 1e-4  # resolution of bits per residue
_PAPER = "Feng et al. 2024 (arXiv 2411.00593)"
_BEATS = (
    "sparse Sinkhorn translation is better in perplexity and bits per byte than its unconstrained and its dense "
    "variant (public summaries of the paper's experiments; the tables could not be read)"
)
_ADAPTS = "translation adapts a model of English to proteins (abstract); numbers could not be read"
_ADDED = "not in the paper as far as it could be read"


def _claim(id: str, than: str, source: str, says: str) -> Claim:
    text = f"A learnt sparse plan needs fewer bits per residue than {than}."
    return Claim(id, text, "direction", source, below(0), TRAINING_RUN, paper_says=says)


# what the sparse plan is compared with, and the claim
COMPARED: Mapping[str, Claim] = {
    "source": _claim(
        "beats-source", "the source tokenizer over its whole vocabulary, without training",
        f"{_PAPER}, experiments", _ADAPTS,
    ),
    "source_letters": _claim(
        "beats-source-with-letters", "the source tokenizer whose softmax is restricted to tokens made of amino-acid "
        "letters (control: knowing the alphabet)", f"{_PAPER}, experiments; control added here", _ADDED,
    ),
    "pieces": _claim(
        "beats-pieces", "target tokens that are the mean of their source pieces, without training",
        "comparison added here", _ADDED,
    ),
    "start": _claim(
        "beats-its-start", "the plan that it starts from, whose scores are random", "control added here", _ADDED,
    ),
    "unconstrained": _claim(
        "beats-unconstrained", "unconstrained weights that start from the same plan", f"{_PAPER}, experiments", _BEATS,
    ),
    "unconstrained_normal": _claim(
        "beats-unconstrained-normal", "unconstrained weights that start from the same normal numbers",
        f"{_PAPER}, experiments", _BEATS,
    ),
    "column_softmax": _claim(
        "beats-column-softmax", "a column softmax, which knows no marginal of the source", "comparison added here",
        _ADDED,
    ),
    "entropic_sinkhorn": _claim(
        "beats-entropic", "an entropic plan with the same marginals, which is dense", f"{_PAPER}, experiments", _BEATS,
    ),
    "unigram": _claim(
        "beats-unigram", "the frequencies of residues in the training proteins", "control added here", _ADDED,
    ),
}  # fmt: skip
CLAIMS: tuple[Claim, ...] = tuple(COMPARED.values())


def arms_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bits per residue of every arm, over training runs."""
    rows = chosen(runs)
    bands = {str(arm): band_of(part["bits"]) for arm, part in rows.groupby("arm", sort=False)}
    singles = {str(arm): part["bits"].to_numpy() for arm, part in rows.groupby("arm", sort=False)}
    lines = {name: float(per_run(runs, name).mean()) for name in REFERENCES}
    sparse = per_run(runs, SPARSE)
    apart = {arm: band_of(sparse - per_run(runs, arm)) for arm in LEARNT if arm in bands and arm != SPARSE}
    differences = {arm: band for arm, band in apart.items() if abs(band[0]) < NEAR}
    caption = (
        "Left: bits per residue of held-out proteins with a frozen body; less is better. Small points: training runs; "
        f"large ones and bars: mean and 95 % interval (Student t) over {len(sparse)} training runs. Hollow: nothing "
        "learnt, or another start. Vertical lines: models without any network, means over runs. Right: paired "
        f"differences of the learnt arms within {NEAR} bits, mean and 95 % interval over the same runs. "
        f"{setting(study)}"
    )
    alt = "A row of points for every arm, with lines for unigram models and gzip; beside it differences around zero."
    study.figure(plots.arms_figure(bands, singles, lines, differences), "arms", caption, alt)


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bits of training batches against steps, for the rate chosen in each run."""
    keys = ["replicate", "arm", "rate"]
    kept = rows_of(runs, what="curve").merge(chosen(runs)[keys].dropna(), on=keys)
    order = [arm for arm in plots.LABELS if arm in {*kept["arm"]}]
    curves = {arm: rows_of(kept, arm=arm).groupby("step")["bits"].mean() for arm in order}
    lines = {name: float(per_run(runs, name).mean()) for name in ("unigram", "token_unigram")}
    caption = (
        "Bits per residue of the training texts of each step, before its update: means over "
        f"{kept['replicate'].nunique()} training runs, with the learning rate that validation texts chose. All arms "
        "see the same texts at the same step, so that wiggles they share come from the texts; intervals stand in the "
        f"table. Grey lines: models without any network. Right: the lower end of the same axis. {setting(study)}"
    )
    alt = "Falling curves of bits per residue over steps, one for each learnt arm."
    study.figure(plots.curves_figure(curves, lines), "curves", caption, alt)


def arms_table(study: Study, runs: pd.DataFrame) -> None:
    """Bits of every arm and reference, and the difference of the sparse plan to it."""
    names = [*dict.fromkeys(chosen(runs)["arm"]), *REFERENCES]
    sparse, rows = per_run(runs, SPARSE), []
    for name in names:
        bits = per_run(runs, name)
        cells = [("bits", bits), ("sparse_minus_this", sparse - bits)]
        rows.append(summary_row({"arm": plots.LABELS.get(name) or plots.REFERENCES[name]}, cells))
    caption = (
        "Bits per residue of held-out proteins, and how many fewer (negative) the learnt sparse plan needs, paired: "
        f"means and standard errors over {len(sparse)} training runs. The last {len(REFERENCES)} rows know residues "
        f"or tokens by their frequencies, or compress the letters, without any network. {setting(study)}"
    )
    study.table(pd.DataFrame(rows), "arms", caption, "summary")


def rates_table(study: Study, runs: pd.DataFrame) -> None:
    """Every learning rate of every learnt arm."""
    rows, best = [], chosen(runs)
    learnt = rows_of(runs, what="arm").dropna(subset=["rate"])
    for (arm, rate), part in learnt.groupby(["arm", "rate"], sort=False):
        finite = part.dropna(subset=["bits"])
        if finite.empty:
            continue
        cells = [("validation", finite["validation"]), ("held_out", finite["bits"])]
        taken = best.loc[best["arm"] == arm, "rate"] == rate
        rows.append({**summary_row({"arm": plots.LABELS[str(arm)], "rate": rate}, cells), "runs": len(finite),
                     **count_cells("chosen_in", taken)})  # fmt: skip
    caption = (
        "Learning rates: bits per residue of validation texts, which choose, and of held-out proteins: means and "
        "standard errors over the training runs that did not diverge; chosen_in counts the runs in which a rate was "
        f"chosen. {setting(study)}"
    )
    study.table(pd.DataFrame(rows), "rates", caption, "summary")


def _by_protein(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    rows = rows_of(runs, what="protein").sort_values("protein", kind="stable")
    return {str(arm): rows_of(rows, arm=arm)["bits"].to_numpy() for arm in dict.fromkeys(rows["arm"])}


def _over_proteins(bits: np.ndarray) -> tuple[float, float, float]:
    made = statistics.mean(bits, unit=TEST_ITEM, level=FIGURE_LEVEL, resolution=STEP)
    return made.value, made.low, made.high


def has_network(runs: pd.DataFrame) -> bool:
    """Whether the preset has the part about one large trained model."""
    return bool((runs["what"] == "protein").any())


def network_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bits per residue of one large trained model, over proteins; nothing where there is none."""
    if not has_network(runs):
        return
    bits = _by_protein(runs)
    bands = {arm: _over_proteins(values) for arm, values in bits.items()}
    lines = {name: float(rows_of(runs, what="network reference", arm=name)["bits"].iloc[0]) for name in REFERENCES}
    caption = (
        f"Bits per residue over {len(bits[SPARSE])} held-out proteins. Small points: proteins; large ones and bars: "
        f"mean and 95 % interval ({_method(bits[SPARSE])}) over proteins. Hollow: nothing learnt. Vertical lines: "
        f"models without any network. {network_setting(study)}"
    )
    alt = "A row of points with an interval for every arm, and vertical lines for unigram models and gzip."
    study.figure(plots.arms_figure(bands, bits, lines), "network", caption, alt)


def _method(bits: np.ndarray) -> str:
    return statistics.mean(bits, unit=TEST_ITEM, level=FIGURE_LEVEL, resolution=STEP).method


def network_table(study: Study, runs: pd.DataFrame) -> None:
    """The same in numbers, with paired differences to the learnt sparse plan."""
    if not has_network(runs):
        return
    bits, rows = _by_protein(runs), []
    for arm, values in bits.items():
        cells = dict(zip(("bits", "low", "high"), _over_proteins(values), strict=True))
        names = ("sparse_minus_this", "difference_low", "difference_high")
        other = {} if arm == SPARSE else dict(zip(names, _over_proteins(bits[SPARSE] - values), strict=True))
        rows.append({"arm": plots.LABELS[arm], **cells, **other})
    rows += [{"arm": plots.REFERENCES[name], "bits": float(part["bits"].iloc[0])}
             for name, part in rows_of(runs, what="network reference").groupby("arm", sort=False)]  # fmt: skip
    caption = (
        f"Bits per residue, and how many fewer (negative) the learnt sparse plan needs, paired by protein; 95 % "
        f"intervals ({_method(bits[SPARSE])}) over {len(bits[SPARSE])} proteins; nothing here speaks about other "
        f"training runs. {network_setting(study)}"
    )
    study.table(pd.DataFrame(rows), "network", caption, "same machine", "the plan itself, or no proteins apart.")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    known = {*chosen(runs)["arm"], *REFERENCES}
    for than, claim in COMPARED.items():
        if than in known:
            study.decide(claim.id, paired(study, per_run(runs, SPARSE), per_run(runs, than), STEP))
        else:
            study.decide(claim.id, None, f"{plots.LABELS[than]} diverged at every learning rate in some run")


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    arms_figure, arms_table, curves_figure, rates_table, network_figure, network_table, decisions,
)  # fmt: skip
