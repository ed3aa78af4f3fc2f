"""Reading jobs: get, list and watch, lag, and the proof that all is consistent."""
