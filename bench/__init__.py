"""Measures the product beside what it is compared with, in one run: see docs/benchmarks.md."""
