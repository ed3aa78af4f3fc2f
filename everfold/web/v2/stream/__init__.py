"""Jobs as they go on: server-sent events."""
