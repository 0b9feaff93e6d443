"""What test rows share with training and pretraining data, and what their scores are without it."""
