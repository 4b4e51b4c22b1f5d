"""Random Scaling of Emergent Capabilities (Zhao, Qin, Alvarez-Melis, Kakade and Saphra 2025, arXiv 2502.17356)."""
