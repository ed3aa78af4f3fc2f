"""Jobs as ComfyUI's clients know them: prompts, the queue, the history."""
