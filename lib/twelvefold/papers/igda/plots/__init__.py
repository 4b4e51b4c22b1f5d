"""Drawings of IGDA: one module per result, and one colour, marker and dash per policy in all of them."""
