"""Projections: folding the log into stored states, parking, and rebuilding."""
