"""What of evaluation sets stands in a corpus."""
