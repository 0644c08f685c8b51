"""Search for good settings with Optuna: the space, the study, and what a trial tells of itself."""
