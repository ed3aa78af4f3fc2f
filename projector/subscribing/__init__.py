"""Subscriptions: each event with its job, in order per job, at least once."""
