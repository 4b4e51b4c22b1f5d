"""One package per paper; papers never import one another."""
