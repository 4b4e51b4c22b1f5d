"""Scaling curves over one axis: what 03 and 04 measure on them and how they draw it."""
