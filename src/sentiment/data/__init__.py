"""From CSV files to padded batches of token ids. Knows nothing of models."""
