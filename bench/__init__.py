"""Benchmarks: each prints a ratio against a limit or a peer measured in the same run."""
