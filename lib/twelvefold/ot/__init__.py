"""Optimal transport as batched torch: discrepancies between point clouds, Wasserstein gradient flows of particles, and
exact assignments for small problems."""
