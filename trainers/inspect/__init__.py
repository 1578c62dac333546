"""Looking into trained networks: activations, filters, Grad-CAM, concept vectors."""
