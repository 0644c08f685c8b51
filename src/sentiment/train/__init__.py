"""Training a classifier: from a config to a tested checkpoint."""
