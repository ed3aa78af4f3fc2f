"""The files of a ComfyUI server, both ways."""
