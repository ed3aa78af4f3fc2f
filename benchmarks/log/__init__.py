"""What the log and its projector cost."""
