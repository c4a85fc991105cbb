"""Scoring: bits per byte, choices by log-likelihood, expert load, certificates."""
