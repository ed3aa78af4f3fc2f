"""What a runner tells of its jobs while it works on them: lines of its log, and spans."""
