"""Sometimes I am a Tree: Data Drives Unstable Hierarchical Generalization (Qin, Saphra and Alvarez-Melis, EMNLP 2025,
arXiv 2412.04619)."""
