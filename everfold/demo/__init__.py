"""The demo: real processes, thirteen jobs, and a runner and a ComfyUI that are killed."""
