"""ComfyUI as a backend: its HTTP interface, its websocket, and what they mean."""

from runner.comfyui.backend import ComfyBackend

__all__ = ["ComfyBackend"]
