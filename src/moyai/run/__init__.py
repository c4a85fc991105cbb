"""Doing what a recipe asks: records, resume, locks."""
