"""Converts JSON to arrays and back, strictly and fast."""
