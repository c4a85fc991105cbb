"""Which documents are worth learning from, with a named reason for every other one."""
