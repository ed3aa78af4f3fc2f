"""For the tests of applications: a whole farm, without a server, a GPU or a ComfyUI.

Needs the extras `embedded` and `simulator`.
"""

from everfold.testing.farm import Farm, farm, farm_in_thread

__all__ = ["Farm", "farm", "farm_in_thread"]
