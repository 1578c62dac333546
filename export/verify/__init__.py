"""Proof that every form of a model gives the same answers."""
