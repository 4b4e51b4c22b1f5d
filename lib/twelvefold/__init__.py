"""Twelvefold: a runnable companion to twelve machine-learning papers."""

__version__ = "0.1.0"
