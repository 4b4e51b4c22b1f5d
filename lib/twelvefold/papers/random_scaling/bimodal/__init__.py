"""Bimodality over runs: measures and drawings of notebooks 01 and 02."""
