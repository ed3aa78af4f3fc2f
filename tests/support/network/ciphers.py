"""A cipher for tests, with keys that are no secret."""

from __future__ import annotations

import base64

from everfold.erasing.seal_cipher import seal_cipher
from everfold.streams.border.secrets import Secret

SEAL_KEY = base64.b64encode(bytes(range(32))).decode()
"""As EVERFOLD_SEAL_KEY has it."""

OTHER_SEAL_KEY = base64.b64encode(bytes(range(1, 33))).decode()

CIPHER = seal_cipher([Secret(bytes(range(32)).hex())])
OTHER_CIPHER = seal_cipher([Secret(bytes(range(1, 33)).hex())])
