"""Weights on disk: streaming safetensors, expert layouts, model sources."""
