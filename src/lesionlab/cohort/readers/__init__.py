"""Readers: one module per way in which a cohort says where its scans lie."""
