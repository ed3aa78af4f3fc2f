"""Keeps the log bounded: decides what is to go, and trims what nobody needs any more."""
