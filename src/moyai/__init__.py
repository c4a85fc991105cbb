"""moyai: from an open checkpoint to a Japanese/English model, with proof at every step."""

__version__ = "0.1.0"
