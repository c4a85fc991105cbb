"""Learning new pieces on top of a vocabulary."""
