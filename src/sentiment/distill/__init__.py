"""Train a student on the probabilities of teachers, or a classifier on its own."""
