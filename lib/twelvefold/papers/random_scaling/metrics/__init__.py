"""Continuous scores of runs, distances between scales, and their drawings."""
