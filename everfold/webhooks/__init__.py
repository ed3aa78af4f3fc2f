"""For receivers of webhooks and callbacks: whether a message is Everfold's, and what it says."""

from everfold.webhooks.verifying import Message, verify

__all__ = ["Message", "verify"]
