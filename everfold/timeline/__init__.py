"""Draws jobs over time: in the terminal, as SVG, and as a trace for Perfetto."""
