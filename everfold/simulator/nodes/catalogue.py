"""All node classes that the simulator lists and runs, as `/object_info` names them.

Rule: the specifications are those of ComfyUI 0.3.64; models and samplers are stand-ins.
"""

from __future__ import annotations

from everfold.simulator.nodes.fault_nodes import FAULT_NODES
from everfold.simulator.nodes.image_nodes import IMAGE_NODES
from everfold.simulator.nodes.latent_nodes import LATENT_NODES
from everfold.simulator.nodes.model_nodes import MODEL_NODES
from everfold.simulator.nodes.node import Node

NODES: dict[str, Node] = {**MODEL_NODES, **LATENT_NODES, **IMAGE_NODES, **FAULT_NODES}
