"""Training a language model, whose encoder a classifier can start from."""
