"""The whole farm as it is now, for those who look on: folded once per gateway."""
