"""New texts compared with the validation reviews of a training."""
