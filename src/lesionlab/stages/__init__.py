"""Running a stage over studies: its store, manifest, fingerprints, lock, plan, workers and engines."""
