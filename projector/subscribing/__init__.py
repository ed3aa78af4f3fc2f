"""Consumers of the log: each event with its job, in order per job, acknowledged when it is done."""
