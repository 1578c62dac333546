"""Requests that wait for a model, and how they are gathered into runs."""
