"""The one training loop, and what it needs: batches, devices, checkpoints, artifacts."""
