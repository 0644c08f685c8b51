"""Publishing a trained classifier: its files, a model card, and the Hugging Face Hub."""
