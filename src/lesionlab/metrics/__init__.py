"""Measures of segmentation and synthesis, and the statistics over them."""
