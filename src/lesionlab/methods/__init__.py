"""One file per system of the papers: its networks, its losses and its training step."""
