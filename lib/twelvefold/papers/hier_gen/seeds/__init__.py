"""Drawings and measures of the results that ask what separates one training run from the next (04 and 05)."""
