"""The demo: an invented web shop sends a month of events, asks about them, checks the answers."""
