"""Predictions to numbers: metrics, their uncertainty, comparisons of models, and leakage between splits."""
