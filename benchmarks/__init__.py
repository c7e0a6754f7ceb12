"""Benchmarks: programs that measure ours beside a peer or a floor, in one run. `make bench SUITE=name`."""
