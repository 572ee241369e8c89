"""A sink that posts entries to a server of the operator's, signed.

Source of the headers and of the signature: https://www.standardwebhooks.com, for which there are libraries.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable

from ferryman.telemetry.sinks.post import Poster
from ferryman.telemetry.sinks.sink import Batch

PREFIX = "whsec_"


class Webhook:
    """Posts `{"entries": […]}`; any 2xx has taken them."""

    name = "webhook"

    def __init__(self, url: str, secret: str | None, now: Callable[[], float]) -> None:
        """Connect to nobody yet.

        Args:
            url: where to.
            secret: what to sign with, `None` for no signature.
            now: the Unix time in seconds.
        """
        self._poster = Poster(url, {})
        self._key = None if secret is None else key_of(secret)
        self._now = now

    def __repr__(self) -> str:
        return f"<Webhook {self._poster.host}>"

    def deliver(self, batch: Batch) -> None:
        """See `Sink`."""
        body = b'{"entries":[' + b",".join(batch.records) + b"]}"
        at = str(int(self._now()))
        headers = {"webhook-id": batch.id, "webhook-timestamp": at}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, batch.id, at, body)
        self._poster.post(body, headers)

    def close(self) -> None:
        """See `Sink`."""
        self._poster.close()


def key_of(secret: str) -> bytes:
    """The key in `secret`: base64 behind `whsec_`, else the text itself."""
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signature(key: bytes, message_id: str, at: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = b".".join((message_id.encode(), at.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
