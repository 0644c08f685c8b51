"""Linear classifiers of n-grams on the splits of a training."""
