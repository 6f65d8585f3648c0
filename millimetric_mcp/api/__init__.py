"""The embedded HTTP API (extra ``api``): the contract of the hosted one, on one machine."""
