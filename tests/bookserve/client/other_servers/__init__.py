"""Servers that are not bookserve, for ``make test-servers``. Each is a program for an environment of its own."""
