"""DDEQs: Distributional Deep Equilibrium Models through Wasserstein Gradient Flows (Geuter et al. 2025)."""
