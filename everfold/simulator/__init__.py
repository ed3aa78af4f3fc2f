"""A stand-in for a ComfyUI server, to try Everfold with and to test against."""

from everfold.simulator.simulator import Simulator, simulate

__all__ = ["Simulator", "simulate"]
