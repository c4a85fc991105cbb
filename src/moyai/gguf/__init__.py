"""The GGUF format: reading it with distrust, writing it a tensor at a time, vocabulary in both directions."""
