"""Drawings of the results of s2t2."""
