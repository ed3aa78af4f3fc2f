"""The archive: what the log held, in immutable files that prove themselves."""
