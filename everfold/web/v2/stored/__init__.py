"""Stored files: upload, look, read, remove."""
