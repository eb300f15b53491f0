"""Networks for tests of what stands around networks."""

from __future__ import annotations

import os

from frametx.models.network import Network
from frametx.snapshots import Model


class StandIn(Network):
    """Computes what a test says in `logits`; no checkpoint is taken for it."""

    architecture = "stand-in"

    @classmethod
    def recognises(cls, _shapes):
        return False

    @classmethod
    def sizes_from(cls, _shapes):
        return {}


class TooLarge(Model):
    """Takes the process that loads it with it, as the system does where memory runs out."""

    def load(self):
        os._exit(9)
