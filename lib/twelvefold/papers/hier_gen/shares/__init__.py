"""Drawings of the results that compare shares of centre-embedded sentences (02 and 03)."""
