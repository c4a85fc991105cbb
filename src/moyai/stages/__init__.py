"""The work of each stage: reads directories, writes one.  One stage never imports another."""
