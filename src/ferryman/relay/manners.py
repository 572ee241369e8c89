"""What an upstream wants of the requests that it gets: which edits, decided from the body alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ferryman.errors import InvalidRequest, PermissionDenied
from ferryman.http1.client import Body
from ferryman.model import ABSENT, Call
from ferryman.relay.values import Route
from ferryman.translate.tools import tool_edits
from ferryman.wire.edit import Member, addition, members, only, removals
from ferryman.wire.splice import Splice
from ferryman.wire.usage import UNREADABLE

OURS = "litellm_metadata"
IDENTITY = "identity"
"""What the edits are called in `x-ferryman-mutations`."""

_UNREAD = frozenset({"batch", "unmetered"})
"""Kinds of requests that may start work for somebody whom they name, and in which no name is put."""

_NOBODY = frozenset({b"null", b'""'})


class Manners(NamedTuple):
    """The edits that an upstream wants; by default none.

    Attributes:
        user_id: whether `metadata.user_id` is the client's own (`keep`), is named where it is missing
            (`fill`), or is always the caller's name (`overwrite`).
        inject_user_field: a top-level `user` names the caller too; Anthropic itself refuses such a request.
        images: what becomes of images that are given as URLs: `off` (nothing), `leave` (they become base64
            where they can be had), `error` (the same, and the request is refused where one cannot).
        tools: `off`, or `convert`: they come in the shape of the `family`.
        family: whose shape of tools the upstream's models know: `anthropic` or `openai`.
    """

    user_id: str = "keep"
    inject_user_field: bool = False
    images: str = "off"
    tools: str = "off"
    family: str = "anthropic"

    @property
    def names_users(self) -> bool:
        """Whether requests are to name their caller."""
        return self.user_id != "keep" or self.inject_user_field

    @property
    def trusts_names(self) -> bool:
        """Whether no request may name another than its caller."""
        return self.user_id == "overwrite" or self.inject_user_field


PLAIN = Manners()
"""No edits: a body is not looked into."""


def splices_for(
    body: Body, call: Call, route: Route, manners: Manners, identity: str | None, made: Iterable[Splice] = ()
) -> list[Splice]:
    """All edits of a request, in the order in which they are told.

    Args:
        body: without a content coding.
        call: what was read of it.
        route: where it goes; only requests for an answer name a user, since the others have no such field.
        manners: of the upstream.
        identity: the caller's name, `None` if there is none.
        made: the edits that were decided before this: of the model, of images.

    Raises:
        InvalidRequest: a field that is to be edited stands twice, or cannot be; or the body is no JSON
            object, and so could name somebody else than its caller.
        PermissionDenied: so could a request on this route, which is not looked into.
    """
    if manners.trusts_names and route.kind in _UNREAD:
        raise PermissionDenied(
            f"`{route.path}` is not for this upstream: it is told in each request who calls, and this one is "
            "not read; use `/v1/messages`."
        )
    splices = list(made)
    names_user = identity is not None and manners.names_users and route.kind == "messages"
    converts = manners.tools == "convert" and route.reads_call
    cuts: dict[str, str] = {} if call.litellm_metadata is ABSENT else {OURS: OURS}
    if not (cuts or names_user or converts):
        return splices
    try:
        found = members(body)
        if converts:
            tools = tool_edits(body, found, manners.family)
            splices += tools.splices
            cuts |= tools.cuts
        gone = removals(body, found, cuts)
        splices += gone
        if names_user and identity is not None:
            splices += _of_identity(body, found, manners, identity, others=len(found) - len(gone))
    except UNREADABLE:
        if not names_user:  # the upstream's answer to it is the one that clients know
            return splices
        raise InvalidRequest(
            "The request body cannot be read as a JSON object, and this upstream is told in it who calls."
        ) from None
    return splices


def _of_identity(
    body: Body, found: list[Member], manners: Manners, identity: str, *, others: int
) -> Sequence[Splice]:
    """The edits that make a request name its caller.

    Args:
        body: the request.
        found: its members.
        manners: say how.
        identity: the caller's name.
        others: members that stay.
    """
    splices: list[Splice] = []
    added: list[bytes] = []
    name = msgspec.json.encode(identity)
    if manners.user_id != "keep":
        metadata = only(found, "metadata")
        if metadata is None:
            added.append(b'"metadata":{"user_id":%b}' % name)
        elif (splice := _of_metadata(body, metadata, name, fills=manners.user_id == "fill")) is not None:
            splices.append(splice)
    if manners.inject_user_field:
        user = only(found, "user")
        if user is None:
            added.append(b'"user":%b' % name)
        elif body[user.value_start : user.end] != name:
            splices.append(Splice(user.value_start, user.end, name, IDENTITY))
    if added:
        splices.append(addition(body, 0, b",".join(added), IDENTITY, alone=not others))
    return splices


def _of_metadata(body: Body, metadata: Member, name: bytes, *, fills: bool) -> Splice | None:
    """The edit that makes `metadata` name its caller; `None` where it does, or names another who may stay."""
    start, end = metadata.value_start, metadata.end
    if body[start:end] == b"null":
        return Splice(start, end, b'{"user_id":%b}' % name, IDENTITY)
    if body[start] != ord("{"):
        raise InvalidRequest("`metadata` has to be a JSON object: this upstream is told in it who calls.")
    inner = members(body, start, end)
    user_id = only(inner, "user_id")
    if user_id is None:
        return addition(body, start, b'"user_id":%b' % name, IDENTITY, alone=not inner)
    told = body[user_id.value_start : user_id.end]
    if told == name or (fills and bytes(told) not in _NOBODY):
        return None
    return Splice(user_id.value_start, user_id.end, name, IDENTITY)
