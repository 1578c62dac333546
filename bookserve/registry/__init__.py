"""Bundles on the way between machines. They are what the rooms hand each other, so carrying them belongs to no room."""
