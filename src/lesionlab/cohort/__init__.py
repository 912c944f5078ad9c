"""Which studies there are: layouts, readers, checks, facts, splits."""
