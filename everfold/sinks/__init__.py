"""Subscribers that come along: database records, webhooks, analytics."""
