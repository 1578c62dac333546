"""Algorithms around the graphs: text generation, latent spaces, DeepDream and style transfer, Grad-CAM."""
