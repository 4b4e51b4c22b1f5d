"""Drawings of this paper's results."""
