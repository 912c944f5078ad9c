"""Brain, tissues, atlas and group template."""
