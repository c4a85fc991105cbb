"""One way to generate text: llama.cpp."""
