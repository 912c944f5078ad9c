"""Trials: which synthesizers and segmenters are trained on which subjects, so that they can be compared fairly."""
