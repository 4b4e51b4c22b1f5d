"""S2T2: Adapting Language Models via Token Translation (Feng, Marwah, Fusi, Alvarez-Melis and Mackey 2024)."""
