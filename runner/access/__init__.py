"""How a ComfyUI server is reached: its address, what lets a runner in, and what is wrong there."""
