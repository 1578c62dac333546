"""Networks that several tasks share, or that are too large for a task file; and the GAN's quality measure."""
