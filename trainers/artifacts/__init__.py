"""What a finished training leaves: SavedModel, examples, samples, pictures, and figures."""
