"""Word vectors of the user's own texts."""
