"""What was chosen for the small language model, and the wordings in which it is asked.

A wording is two texts, one with `{cause}` in it and one without; the phrase of the effect follows both. The first is
that of `prompts.effect_texts`. `WORDINGS_VERSION` belongs to every recorded score: whoever changes a text raises it.
"""

from __future__ import annotations

from collections.abc import Mapping

from twelvefold.papers.igda.edge_scoring import Wording

PROMPT, CENTRED, EDGES_PER_VARIABLE = "pmi", False, 1.0  # what the choosing half decided
WORDINGS_VERSION = "1"
WORDINGS = (
    Wording("a direct effect of {cause} is a change in", "there is a change in"),
    Wording("{cause} directly affects", "something directly affects"),
    Wording("a change in {cause} leads directly to a change in", "this leads directly to a change in"),
    Wording("according to experts, {cause} has a direct influence on",
            "according to experts, there is an influence on"),
    Wording("if {cause} changes, the next thing to change is", "the next thing to change is"),
    Wording("Question: what does {cause} directly cause? Answer: a change in",
            "Question: what happens? Answer: a change in"),
    Wording("cause: {cause}; direct effect:", "direct effect:"),
    Wording("one of the things that {cause} directly determines is", "one of the things to be determined is"),
)  # fmt: skip
# how many wordings, the first ones, by network and names: what half an hour was thought to allow (it took 14 minutes),
# settled by that alone before any of the scores was looked at; fictional phrases, which are long, would take as
# long again on alarm
COUNTS: Mapping[tuple[str, str], int] = {
    ("asia", "real"): 8, ("asia", "anonymised"): 8, ("asia", "fictional"): 8,
    ("child", "real"): 6, ("child", "anonymised"): 6, ("child", "fictional"): 6,
    ("alarm", "real"): 6, ("alarm", "anonymised"): 6,
}  # fmt: skip
