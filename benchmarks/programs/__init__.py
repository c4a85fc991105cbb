"""What the benchmarks run as processes of their own, so that the measuring process stays small."""
