"""Which resource of Anthropic's a request is about, by the shape of its path.

A path is a collection and, behind it, the id of a resource in it; what stands behind the id belongs to that
resource. So a collection that we have never heard of is understood as well. Only what does not have this
shape, or belongs to nobody, is named here.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

ORGANIZATION = "organization"
"""The Admin API (`/v1/organizations/*`): members, keys and spend of the whole organization."""

OAUTH = "oauth"
"""`/v1/oauth/*`: its answer is a credential for Anthropic, with which calls go past the gateway."""

OUTSIDE = "outside"
"""A path of the upstream that is not below `/v1/`: nothing is known of what it shows."""

CLOSED = frozenset({ORGANIZATION, OAUTH, OUTSIDE})
"""Kinds that nobody can own, and that are refused to virtual keys unless they are allowed by name."""

FILES, SKILLS, BATCHES, CONTAINERS = "files", "skills", "messages/batches", "containers"

CREATE, LIST, READ, CHANGE, DELETE = "create", "list", "read", "change", "delete"

_ID = re.compile(r"[!-~]{1,200}")
"""Anthropic's ids have about 30 letters, digits and underscores."""

_NESTED = frozenset({BATCHES})
"""Collections of two segments."""

_NOBODYS = frozenset({"messages", "models", "complete"})
"""What stands here has no maker: an answer is not kept, and models are everybody's."""

_CLOSED_SEGMENTS = {"organizations": ORGANIZATION, "organization": ORGANIZATION, "oauth": OAUTH}
_READING = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_ANTHROPICS = re.compile(r"[a-z0-9-]{1,64}")


class Resource(NamedTuple):
    """What a request is about.

    Attributes:
        kind: the collection, such as `files` or `messages/batches`, or one of `CLOSED`.
        id: of the resource, `None` for the collection itself.
        verb: `create` and `list` are a collection's, `read`, `change` and `delete` a resource's. `change`
            of a collection is a method that no endpoint of Anthropic's has.
        within: behind the id, such as `versions/1`; empty for the resource itself.
    """

    kind: str
    id: str | None
    verb: str
    within: str = ""


def resource_of(method: bytes, target: bytes) -> Resource | None:
    """The resource that a request is about, `None` for what belongs to nobody.

    Args:
        method: of the request.
        target: the path that goes upstream, as it goes, with or without its query. It has one reading:
            `ferryman.relay.route` has refused dot segments, `//` and encoded slashes.
    """
    path = target.partition(b"?")[0]
    if b"%" in path:
        path = unquote_to_bytes(path)
    segments = path.decode("ascii", "backslashreplace").strip("/").split("/")
    if segments[0] != "v1" or len(segments) == 1:
        return Resource(OUTSIDE, None, _verb(method, has_id=False, within=""))
    first = segments[1]
    # An upstream that takes names in any case, or cuts what is behind `;`, must not be reached past this.
    if (closed := _CLOSED_SEGMENTS.get(first.partition(";")[0].strip().casefold())) is not None:
        return Resource(closed, None, _verb(method, has_id=False, within=""), "/".join(segments[2:]))
    length = 2 if "/".join(segments[1:3]).casefold() in _NESTED else 1
    if length == 1 and first.casefold() in _NOBODYS:
        return None
    kind, rest = "/".join(segments[1 : 1 + length]), segments[1 + length :]
    if not rest:
        return Resource(kind, None, _verb(method, has_id=False, within=""))
    within = "/".join(rest[1:])
    return Resource(kind, rest[0], _verb(method, has_id=True, within=within), within)


def _verb(method: bytes, *, has_id: bool, within: str) -> str:
    if method in _READING:
        return READ if has_id else LIST
    if not has_id:
        return CREATE if method == b"POST" else CHANGE
    return DELETE if method == b"DELETE" and not within else CHANGE


def is_id(text: str) -> bool:
    """Whether something can be an id at all; what cannot be need not be looked up."""
    return _ID.fullmatch(text) is not None


def is_anthropics(kind: str, resource_id: str) -> bool:
    """Whether a resource is Anthropic's own, for everybody to use: a skill such as `pptx`.

    Custom skills have ids that begin with `skill_`.

    Source: anthropic 2.12.0, types/beta/beta_skill_params.py and types/skill.py (`source`).
    """
    return kind == SKILLS and _ANTHROPICS.fullmatch(resource_id) is not None
