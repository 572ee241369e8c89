"""Who calls Ferryman's own paths, and what of them is open to whom. Decides only; looks nothing up."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ferryman.errors import PermissionDenied
from ferryman.limits.patterns import compiled

Role = Literal["admin", "viewer", "own", "own viewer"]

ROLES: dict[str, Role] = {
    "proxy_admin": "admin",
    "proxy_admin_viewer": "viewer",
    "internal_user": "own",
    "internal_user_viewer": "own viewer",
}
"""LiteLLM's roles of users → what their keys may do here."""

ASKS_BY_POST = frozenset(
    {"/v2/key/info", "/budget/info", "/tag/info", "/spend/calculate", "/global/spend/end_users"}
)
"""POST, and yet they change nothing."""

USAGE_PATH = "/api/oauth/usage"
REFRESH_PATH = "/refresh"

CONSOLE_PATH = "/ui"
"""The console's first page; all others are below it."""

_FOR_ALL = frozenset({"/key/info", "/key/list", "/key/aliases", "/user/info", "/openapi.json", USAGE_PATH})
_KEY = re.compile(r"sk-[^/]+")
_REGENERATE = re.compile(r"/key/(?:[^/]+/)?regenerate")


def is_console(path: str) -> bool:
    """Whether `path` is one of the console's."""
    return path == CONSOLE_PATH or path.startswith(f"{CONSOLE_PATH}/")


def shown_path(path: str) -> str:
    """`path` for errors and logs: keys may stand in it, as in `/key/sk-…/regenerate`, and are left out."""
    return _KEY.sub("sk-…", path)


class Caller(NamedTuple):
    """Whoever sent a request.

    Attributes:
        role: `admin` may all, `viewer` see all, `own` see its own keys and make them anew, `own viewer` only
            see them.
        name: as in the audit log: `master key`, `operator`, or `key:` and the id of a key.
        key_id: of the virtual key that came, `None` without one.
        user_id: of that key's user.
        routes: its `allowed_routes`, `None` for none.
    """

    role: Role
    name: str
    key_id: str | None = None
    user_id: str | None = None
    routes: tuple[str, ...] | None = None

    @property
    def sees_all(self) -> bool:
        """Whether it sees everybody's keys."""
        return self.role in {"admin", "viewer"}


ANYBODY = Caller("admin", "anybody")
"""Who asks for `REFRESH_PATH` where there is no master key, as with argo-proxy; for nothing else."""

MASTER = Caller("admin", "master key")
OPERATOR = Caller("admin", "operator")
"""Who reaches the control plane's own socket is the operator on this machine."""


def check_role(caller: Caller, method: str, path: str) -> None:
    """Let `caller` on to `path`.

    Args:
        caller: who it is.
        method: of the request.
        path: without its query and without escapes, as it is routed by.

    Raises:
        PermissionDenied: its role does not open it, or the list of routes of its key.
    """
    reads = method in {"GET", "HEAD"}
    tells_of_itself = reads and path in _FOR_ALL
    if caller.routes is not None and not tells_of_itself and not compiled(caller.routes).fullmatch(path):
        raise PermissionDenied(
            f"The key that came with it may not call `{method} {shown_path(path)}`; `allowed_routes` has "
            "what it may call."
        )
    if caller.role == "admin":
        return
    if caller.role == "viewer" and (reads or path in ASKS_BY_POST):
        return
    if tells_of_itself:
        return
    if caller.role == "own" and method == "POST" and _REGENERATE.fullmatch(path):
        return
    what = {
        "viewer": "sees everything and changes nothing",
        "own": "sees its own keys and makes them anew",
        "own viewer": "sees its own keys",
    }[caller.role]
    raise PermissionDenied(
        f"`{method} {shown_path(path)}` is for administrators; the key that came with it {what}. "
        "Use the master key, or the key of a user with the role `proxy_admin`."
    )
