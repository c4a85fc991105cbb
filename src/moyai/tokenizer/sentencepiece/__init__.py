"""SentencePiece models: read, written, and as tokenizer.json."""
