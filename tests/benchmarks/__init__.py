"""The benchmark: how fast captures are read, beside other programs. Run with `python -m tests.benchmarks`."""
