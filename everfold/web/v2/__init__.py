"""The Comfy API v2: what comfy-sdk and programs like it call."""
