"""What models make: texts, points of latent spaces, pictures along a gradient, and explanations."""
