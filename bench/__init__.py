"""Measures the product and what it is compared with, in one run: see docs/benchmarks.md."""
