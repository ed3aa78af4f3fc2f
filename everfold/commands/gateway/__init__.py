"""Commands of the gateway: serve it, and the keys of those who may call it."""
