"""Weight ensembles: ingredient selection, functional diversity and multidimensional scaling (Rojas, Alvarez-Melis
2024)."""
