"""Recurrent encoder, pooling, classifier and its training module. Knows nothing of files."""
