"""Pure functions on volumes: nothing here knows of cohorts, networks or pipelines."""
