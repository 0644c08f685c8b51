"""From checkpoints and texts to labels."""
