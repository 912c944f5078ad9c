"""Slices and their store, slice rules, batches, streams."""
