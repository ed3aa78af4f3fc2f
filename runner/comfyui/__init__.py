"""ComfyUI as a backend: its HTTP interface, its websocket, and what they mean."""

from everfold.runner.comfyui.backend import ComfyBackend

__all__ = ["ComfyBackend"]
