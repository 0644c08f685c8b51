"""Pictures and tables of what a training did. Knows plain numbers, not models or data."""
