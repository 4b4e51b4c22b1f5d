"""The arms of all comparisons of this paper: one name, colour, marker and dash each, in every figure."""

from __future__ import annotations

from twelvefold.core import plotting

ARMS = {
    "sparse_sinkhorn": "sparse Sinkhorn", "source": "source tokenizer", "gaussian": "random vectors",
    "pieces": "mean of pieces", "unconstrained": "unconstrained", "column_softmax": "column softmax",
    "entropic_sinkhorn": "entropic Sinkhorn",
}  # fmt: skip
STYLES = plotting.styles(list(ARMS))
REFERENCES = {"unigram": "unigram of residues", "token_unigram": "unigram of target tokens", "gzip": "gzip",
              "lzma": "lzma"}  # fmt: skip
