"""Token forests: packed sequences, their masks, and the chunked output head."""
