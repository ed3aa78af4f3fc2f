"""Files as ComfyUI's clients send and see them: uploads by name, outputs by their job."""
