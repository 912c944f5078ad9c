"""Bias fields and intensity standardization."""
