"""Conversations as text: templates, formats, and what of them is learnt."""
