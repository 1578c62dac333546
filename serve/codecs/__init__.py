"""JSON as arrays and back, strictly and fast."""
