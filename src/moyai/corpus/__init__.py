"""Documents: reading them, mixing them, the starter pack."""
