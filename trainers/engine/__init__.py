"""The training loop, and what it needs: batches, devices, checkpoints, cross-validation."""
