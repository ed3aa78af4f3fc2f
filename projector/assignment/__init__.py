"""Which process works on which partition."""
