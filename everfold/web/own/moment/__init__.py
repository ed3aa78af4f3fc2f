"""The whole farm at a moment of its past, and what changed between two of them."""
