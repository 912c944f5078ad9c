"""Drawing that knows neither pages nor trials: plots, panels, strips, and numbers as people read them."""
