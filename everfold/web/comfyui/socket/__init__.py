"""ComfyUI's websocket: what happens to a client's prompts, in ComfyUI's messages."""
