"""ComfyUI's official web front end, served from the user's own installation, and what it keeps."""
