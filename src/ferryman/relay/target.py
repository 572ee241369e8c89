"""An upstream as a worker uses it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ferryman.errors import InvalidRequest, PermissionDenied
from ferryman.http1.pool import Pool
from ferryman.relay.authenticate import Caller, is_user_name
from ferryman.relay.manners import PLAIN, Manners
from ferryman.relay.prepare import UpstreamFace

CACHED_FACES = 1_024
"""Users whose head of a request is kept ready, of a few hundred bytes each."""


class Target:
    """An upstream as a worker uses it.

    Attributes:
        name: the operator's.
        pool: the connections to it.
        face: what it is given with each request.
        manners: which edits it wants.
        models: matches the whole names of models that go to it, `None` for no model of its own.
        shows_user: its credential is the name of the user who calls.
        edits: it wants edits of bodies: without, none is looked into.
    """

    __slots__ = ("edits", "face", "manners", "models", "name", "pool", "shows_user")

    def __init__(  # one a part
        self,
        name: str,
        pool: Pool,
        face: UpstreamFace,
        manners: Manners = PLAIN,
        *,
        models: re.Pattern[str] | None = None,
        shows_user: bool = False,
    ) -> None:
        self.name = name
        self.pool = pool
        self.face = face
        self.manners = manners
        self.models = models
        self.shows_user = shows_user
        self.edits = manners.names_users or manners.tools == "convert"

    def __repr__(self) -> str:
        return f"<Target {self.name}: {self.pool!r}>"

    def face_for(self, caller: Caller | None) -> UpstreamFace:
        """What it is given with a request of this caller.

        Raises:
            PermissionDenied: it wants to know the user, and the caller is none.
        """
        if not self.shows_user:
            return self.face
        user = caller.principal.user_id if caller is not None else None
        if user is None or not is_user_name(user):
            raise PermissionDenied(
                f"The upstream `{self.name}` takes a user's name as its credential, and this key belongs "
                "to no user whose name that could be; the key's `user_id` tells it."
            )
        return _showing(self.face, user)


@lru_cache(CACHED_FACES)
def _showing(face: UpstreamFace, user: str) -> UpstreamFace:
    return face._replace(credential=b"\r\nx-api-key: " + user.encode() + face.credential)


def target_of(targets: Sequence[Target], model: str | None) -> Target:
    """The first of `targets` that has this model, else the first one."""
    if model is not None:
        for target in targets:
            if target.models is not None and target.models.fullmatch(model):
                return target
    return targets[0]


def keep_together(targets: Sequence[Target], models: Iterable[str]) -> None:
    """Let a batch go on: what becomes of it is asked of the first target, without the name of a model.

    Args:
        targets: all there are.
        models: that its requests ask for.

    Raises:
        InvalidRequest: one of them is another target's.
    """
    for model in sorted(models):
        if (found := target_of(targets, model)) is not targets[0]:
            raise InvalidRequest(
                f"Batches go to the upstream `{targets[0].name}`, and one of these requests asks for a model "
                f"of `{found.name}`; send it by itself."
            )
