"""The demo: an invented web shop sends a month of events, asks about them, checks the answers.

`shop` and `generator` create the events; the benchmarks use them too. `walkthrough` is
``millimetric-mcp demo``.
"""
