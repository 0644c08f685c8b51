"""Training a language model, from which a classifier starts."""
