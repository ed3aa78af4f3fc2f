"""Subscriptions that are included: database records, webhooks, analytics."""
