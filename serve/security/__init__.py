"""API keys, request limits and access policy, the same for every protocol."""
