"""A stand-in for a ComfyUI server, for trials and tests. It needs no GPU and no models."""

from everfold.simulator.simulator import Simulator, simulate

__all__ = ["Simulator", "simulate"]
