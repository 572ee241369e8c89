"""Who has signed in, as a signed cookie tells, and tokens against forged forms. Decides only.

The signing key is made of the master key: with another master key every session is over, and all machines
that share it know each other's.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict

import msgspec

COOKIE = "ferryman_session"
ENTRY_COOKIE = "ferryman_entry"

IDLE_SECONDS = 3_600
"""Without a request the session is over then."""

MOST_SECONDS = 12 * 3_600
"""However busy it is: a working day."""

RENEW_SECONDS = 300
"""A cookie this old is made anew with the next page."""

MAX_ENDED = 10_000
"""Sessions that were signed out and are remembered: some 2 MB. Who gets so many signs out faster than by
hand; the oldest is then forgotten, and ends by its time."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """A session.

    Attributes:
        id: random, hexadecimal digits.
        token: the SHA-256 of the virtual key that it was begun with, empty for the master key.
        began_at, seen_at: Unix time in seconds.
    """

    id: str
    token: str
    began_at: int
    seen_at: int

    def is_over(self, now: float) -> bool:
        """Whether it has lasted too long, or nothing was asked for too long."""
        return now >= self.seen_at + IDLE_SECONDS or now >= self.began_at + MOST_SECONDS


class Signer:
    """Signs sessions and forms."""

    def __init__(self, master_key: str) -> None:
        self._key = hmac.digest(master_key.encode(), b"ferryman console session 1", "sha256")
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Signer {len(self._ended)} ended>"

    def cookie(self, session: Session) -> str:
        """The value of the cookie for `session`."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode().rstrip("=")
        return f"{body}.{self._mac('session', body)}"

    def session(self, cookie: str, now: float) -> Session | None:
        """The session that `cookie` was made of; `None` if that is none of ours, or is over."""
        body, _, mac = cookie.partition(".")
        if not cookie.isascii() or not hmac.compare_digest(mac, self._mac("session", body)):
            return None
        session = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Session)
        return None if session.is_over(now) or session.id in self._ended else session

    def end(self, session: Session) -> None:
        """Take this session no more."""
        self._ended[session.id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def form_token(self, session_id: str) -> str:
        """What each form of a session brings back."""
        return self._mac("form", session_id)

    def is_form_token(self, session_id: str, given: str) -> bool:
        """Whether a form is one of this session."""
        return given.isascii() and hmac.compare_digest(given, self.form_token(session_id))

    def _mac(self, what: str, text: str) -> str:
        return hmac.digest(self._key, f"{what}\0{text}".encode(), "sha256").hex()
