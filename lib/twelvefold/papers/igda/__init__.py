"""IGDA: Interactive Graph Discovery through Large Language Model Agents (Havrilla, Alvarez-Melis and Fusi 2025)."""
