"""A machine as reports describe it."""

MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "memory_gib": 23.5,
    "system": "Linux",
    "python": "3.11",
    "fsync_ms": 0.2,
    "load_before": 0.1,
    "commit": "abc",
}
