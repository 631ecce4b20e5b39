"""Benchmarks: every fast path against a straightforward reference, in the same run."""
