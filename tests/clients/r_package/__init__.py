"""The R package of clients/r: its check, its vignette, and what it sends."""
