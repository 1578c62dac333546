"""The server process: command line, settings, start, drain, worker processes."""
