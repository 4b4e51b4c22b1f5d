"""Synthetic tasks whose training data leave open which rule is right, with the generators and rule oracles that decide
it."""
