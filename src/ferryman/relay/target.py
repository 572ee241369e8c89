"""An upstream as a worker uses it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ferryman.http1.pool import Pool
from ferryman.relay.manners import PLAIN, Manners
from ferryman.relay.prepare import UpstreamFace


class Target(NamedTuple):
    """An upstream as a worker uses it.

    Attributes:
        name: the operator's.
        pool: the connections to it.
        face: what it is given with each request.
        manners: which edits it wants.
        models: matches the whole names of models that go to it; `None` for a target that takes what no other
            one does.
        shows_user: its credential is the caller's name.
    """

    name: str
    pool: Pool
    face: UpstreamFace
    manners: Manners = PLAIN
    models: re.Pattern[str] | None = None
    shows_user: bool = False
