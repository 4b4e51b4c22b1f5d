# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two rules that fit the same training data
#
# **Paper.** T. Qin, N. Saphra and D. Alvarez-Melis, *Sometimes I am a Tree: Data Drives Unstable Hierarchical
# Generalization*, EMNLP 2025 ([arXiv 2412.04619](https://arxiv.org/abs/2412.04619)).
#
# **What is regenerated.** Table 1: examples of the two tasks, ambiguous and out of distribution, with the answer of
# either rule. And the data of all later notebooks, from a generator of our own.
#
# **The claim in one sentence.** Both rules fit every training item that is transformed, and on the out-of-distribution
# items one of them is always right and the other never.
#
# **Time.** Less than a minute at every preset; no network is trained here.

# %% tags=["parameters"]
preset: str = "quick"  # scale: "quick" (laptop), "gpu" or "paper" (more draws; nothing here needs a GPU)
seed: int = 0  # base seed of all draws; 0 is the reported run
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"

# %% [markdown]
# ## The idea
#
# Two tasks turn one sentence into another. The network reads words one by one and learns to predict the next, through
# the whole sequence
#
# $$ w_1 \dots w_n \; . \;\; \text{TASK} \;\; v_1 \dots v_m \; \text{END}. $$
#
# **Question formation.** After `quest`, the output is the question that belongs to the input; after `decl`, a copy.
#
# **Tense inflection.** After `PRESENT`, the output is the input with its past-tense verbs in the present, where each
# verb has to agree in number with its subject; after `PAST`, a copy.
#
# For either task there is a *hierarchical* rule, which needs to know the clauses of a sentence, and a *linear* rule,
# which only needs the order of the words.
#
# - Question formation, tested at the first word of the question. Hierarchical: front the auxiliary of the main clause.
#   Linear: front the first auxiliary.
# - Tense inflection, tested at the main verb. Hierarchical: it agrees with the head noun of the subject. Linear: it
#   agrees with the nearest noun before it.
#
# The training data are made so that they cannot tell which of the two is meant. A question never has a relative clause
# (RC) on its subject, and then the main clause's auxiliary *is* the first one. A sentence put into the present has a
# subject whose head and whose nearest noun are both singular or both plural. The out-of-distribution (OOD) items are
# the other ones: an auxiliary in a relative clause on the subject, of the opposite polarity; a nearest noun of the
# other number. There the rules disagree on every single item, so an answer shows which rule a network has learned.
#
# Copied items are free of all that. They may have a relative clause on the subject (*centre-embedded*), and the
# following notebooks vary exactly them: a network sees that such sentences exist, never what their question is.
#
# **Kinds of relative clauses.** In "the poet *who does help my bakers*" the subject is missing inside the clause
# (subject gap), in "the poet *who my bakers do help*" the object (object gap). The distinction matters for what an
# answer proves. "Front the first auxiliary that does not follow *who* or *that*" is not the hierarchical rule, and yet
# it is right on every subject gap; on object gaps it is wrong. All later notebooks therefore report them apart.

# %%
import pandas as pd
from twelvefold.core.display import show_table
from twelvefold.core.explore import explore
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.hier_gen import rules_and_data
from twelvefold.papers.hier_gen.rules.draws import composed, data_draw
from twelvefold.papers.hier_gen.rules.plotting import sentence_figure
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks.sentence_templates import letters_of, parse_template

study = Study("hier_gen/01_rules_and_data", preset, seed, device)

# %% [markdown]
# ## The generator and the rules on one sentence
#
# A sentence is written as one letter per word: D determiner, N noun, A auxiliary, P preposition, R relativiser, I and T
# intransitive and transitive verb. A **template** is such a text; a **tree** is a template with the number of every
# noun. The generator draws a tree, then every word of its class with equal chance. The rules go the other way: they see
# words only and parse them again, so that a mistake of the generator cannot hide in the rules.

# %%
sentence = "the poet who my bakers do help doesn't laugh .".split()
letters = letters_of(sentence[:-1], verb_form=1)
template = parse_template(letters)
show_table(
    pd.DataFrame(
        {
            "what": ["template", "subject", "main auxiliary is word", "hierarchical rule", "linear rule"],
            "value": [
                letters,
                template.subject,
                str(template.main + 1),
                " ".join(questions.hierarchical_rule(sentence)),
                " ".join(questions.linear_rule(sentence)),
            ],
        }
    ),
    f"What the rules make of: {' '.join(sentence)}",
)

# %% [markdown]
# **How often each template occurs.** The data sets that the paper trains on were published in 2020 by McCoy, Frank and
# Linzen. Their template frequencies are not those of the published grammar's rule weights (longer sentences are more
# frequent), so our generator draws templates by the frequencies counted in the data. Words and sentences are our own.
#
# To compare two tables of frequencies $p$ and $q$ over $K$ templates we use their total variation distance,
#
# $$ \mathrm{TV}(p, q) = \tfrac12 \sum_{k=1}^{K} |p_k - q_k| \;\in\; [0, 1], $$
#
# the share of items that would have to change their template. Chance alone makes it positive: for $n$ independent
# draws from $q$ itself it is on average near $\tfrac12 \sum_k \sqrt{2 q_k (1 - q_k) / (\pi n)}$. With 42 templates
# that is above .02 for $n$ = 11,000, the number of sentences that the published counts are from. A draw here is
# therefore a training set of the full size, $n$ = 100,000, where chance accounts for about a third of the mark of .02.

# %% [markdown]
# ## The claims
#
# Eight of them involve no chance: they count items. They are about our own construction, hence `mechanism`. The ninth
# is about frequencies; its unit is a draw of a whole training set.

# %%
study.declare(rules_and_data.CLAIMS)

# %% [markdown]
# ## The scale
#
# - `draws` of all data, each with a seed of its own: five are enough for an interval of a distance that hardly varies.
# - `items` of a training set: the published size.
# - `tested` items of each test set and draw: five draws of 2,000 make the published size of the OOD set; paper has it
#   in every draw.
# - `ngram_items`: the n-gram models learn from the first so many training items; their answers at the tested word are
#   settled by then.
# - `orders`: n-grams up to this n.

# %%
scale = study.scale(
    quick={"draws": 5, "items": 100_000, "tested": 2_000, "ngram_items": 20_000, "orders": 5},
    gpu={"draws": 10, "items": 100_000, "tested": 2_000, "ngram_items": 20_000, "orders": 5},
    paper={"draws": 10, "items": 100_000, "tested": 10_000, "ngram_items": 20_000, "orders": 5},
)

# %% [markdown]
# ## The experiment

# %%
points = [
    {
        "seed": study.seed,
        "replicate": replicate,
        "items": scale.items,
        "tested": scale.tested,
        "ngram_items": scale.ngram_items,
        "orders": scale.orders,
    }
    for replicate in range(scale.draws)
]
results = sweep(data_draw, points, label="drawing data")
runs = study.runs(rules_and_data.frame(points, results))

# %% [markdown]
# ## The result: what the rules answer

# %%
examples, drawing, right, templates, frequencies, shares, ngrams, decisions = rules_and_data.REPORT
examples(study, runs)

# %%
drawing(study, runs)

# %%
right(study, runs)

# %% [markdown]
# ## The result: the data are those of the paper
#
# The chi-square test asks whether the generated templates could have been drawn from the published frequencies. A test
# that never fails would prove nothing, so the same two numbers stand below for a table in which one published count was
# halved on purpose.

# %%
templates(study, runs)

# %%
frequencies(study, runs)

# %%
shares(study, runs)

# %% [markdown]
# ## The result: what a few words back can tell
#
# How far does one get with neither rule? An $n$-gram model predicts the next word from the $n - 1$ words before it. At
# the first word of a question a trigram sees nothing but ". quest". It has one answer for all sentences, whichever
# auxiliary followed ". quest" most often in training; with four auxiliaries that is right about one time in four by
# either rule. This is the reference point for "no rule" in question formation.
#
# Tense inflection is different. The word right before the main verb is mostly the nearest noun, so that one word back
# is nearly all that the linear rule needs; a network that knows nothing of sentences can be at the linear rule there.
# In question formation the first auxiliary is far away from the tested word.

# %%
ngrams(study, runs)

# %% [markdown]
# From the rows of runs.csv alone every claim is decided; the table of verdicts closes the notebook.

# %%
decisions(study, runs)

# %% tags=["nbval-check-output"]
study.print_checks()

# %% [markdown]
# ## The verdict
#
# How to read the possible outcomes:
#
# - The eight counts are exact. One item on which a rule is wrong where it should be right makes its claim fail, and
#   then either the generator or the rule has a mistake. They were written separately, and the rules do not see what the
#   generator recorded.
# - If the distance of the templates stayed near the mark, or the chi-square p were small, the generator would draw
#   other templates than the published data have.
# - The row with the halved count has to be far from both: a distance above .02 and p near zero.
#
# **A shallow cue that a reader should know.** The rows of question formation with larger $n$ are worth a look. A model
# that sees four words back meets, in sentences that end in an intransitive verb, the auxiliary right before that verb;
# in the OOD set that auxiliary is always the main one, and such sentences make up more than half of it. So "front the
# last auxiliary", which has nothing to do with clauses, agrees with the hierarchical rule there, with object gaps too.
# In training this cue is unreliable (the last auxiliary may belong to a relative clause on the object), and a network
# that used it would have an ID accuracy well below one: the gate on ID accuracy in the next notebooks excludes it.
#
# **What differs from the paper.** Words are our own, with classes of the same size, since only classes matter.
# Duplicate sentences are kept: dropping them, as the published sets do, would thin out short templates. Tense
# inflection follows the rule weights of the published grammar within each kind of subject; the shares of the kinds are
# those of the published data.

# %% [markdown]
# ## Explore
#
# Build a sentence and see what each rule makes of it. Where the two answers differ, the sentence is one that could
# stand in the OOD set. `other` is the number of the noun inside the subject; `negative` concerns the main clause's
# auxiliary, a relative clause has the opposite.


# %%
def sentence_of(task: str, subject: str, number: str, other: str, negative: bool):
    """A sentence with an arc for each rule and both answers"""
    return sentence_figure(task, composed(task, subject, number, other, negative))


explore(
    sentence_of,
    task=["question formation", "tense inflection"],
    subject=["object-gap", "subject-gap", "pp", "plain"],
    number=["singular", "plural"],
    other=["plural", "singular"],
    negative=True,
)

# %% [markdown]
# ## References
#
# - T. Qin, N. Saphra, D. Alvarez-Melis, arXiv 2412.04619 (2024), EMNLP 2025: the paper.
# - R. T. McCoy, R. Frank, T. Linzen, *Does syntax need to grow on trees? Sources of hierarchical inductive bias in
#   sequence-to-sequence networks*, TACL 2020: the tasks, the grammars and the data sets.
# - A. Mueller, R. Frank, T. Linzen, L. Wang, S. Schuster, *Coloring the blank slate: pre-training imparts a
#   hierarchical inductive bias to sequence-to-sequence models*, Findings of ACL 2022.
# - T. Brants, A. C. Popat, P. Xu, F. J. Och, J. Dean, *Large language models in machine translation*, EMNLP 2007: the
#   back-off of the n-gram models.

# %%
study.done(seeds=range(scale.draws))
