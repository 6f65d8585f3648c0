"""A web shop's month, invented: the events, what is true of them, and the walk-through.

`generator` and its neighbours are pure; the walk-through alone starts processes. The
benchmarks use the generator too.
"""
