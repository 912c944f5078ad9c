"""Rigid and affine alignment of sequences with one another and with a template."""
