"""What travels between a client and the API: names, limits, shapes and error codes.

Everything here is pydantic and the standard library only; both halves of the package
build on it and neither adds to it.
"""
