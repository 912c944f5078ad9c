"""From files to batches: cohort discovery, stores, slice rules, lesion manipulation."""
