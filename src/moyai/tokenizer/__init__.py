"""Vocabularies: learning pieces on top of a tokenizer, bytes of tokens."""
