"""Training a Unigram vocabulary from nothing."""
