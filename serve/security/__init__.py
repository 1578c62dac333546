"""Who may ask for what, and how much: API keys, limits, access policy."""
