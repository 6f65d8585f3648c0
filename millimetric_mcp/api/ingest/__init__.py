"""Ingest: from a request's body to the rows that are stored. Pure: no I/O, no clock."""
