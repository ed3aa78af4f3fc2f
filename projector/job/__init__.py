"""A job, and the pure functions that fold its events."""
