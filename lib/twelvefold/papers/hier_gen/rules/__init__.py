"""Drawings of the notebooks on the two rules: their data (01) and tense inflection (06)."""
