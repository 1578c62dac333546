"""Look inside trained networks: activations, filters, Grad-CAM, concept vectors."""
