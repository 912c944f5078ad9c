"""Lesion manipulation, conventional changes, synthetic slices."""
