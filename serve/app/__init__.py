"""The server's process: command line, settings, start, drain and worker processes."""
