"""The GGUF format: reading it into a checkpoint and writing it from one."""
