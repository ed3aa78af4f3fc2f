"""What those are served who watch, ask and fetch."""
