"""Benchmarks: black boxes beside a peer, in one run, printed as ratios."""
