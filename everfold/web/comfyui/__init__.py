"""ComfyUI's own HTTP API, over all servers of a namespace."""
