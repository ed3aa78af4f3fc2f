"""What ComfyUI says of itself, told of all servers of a namespace together."""
