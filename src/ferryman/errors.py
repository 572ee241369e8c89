"""Everything that can go wrong, and how a client sees it.

    FerrymanError                      status  error.type              retried by clients
    ├── SettingsError                  (exit 2, before anything listens)
    ├── StartError                     (exit 1: a process dies again and again at the start)
    ├── JournalUnwritable              (`on_ledger_failure` decides what a client sees)
    ├── JournalUnreadable              (of another version; the journal waits)
    ├── StoreError                     the database says what cannot be: damaged, or no such table
    │   └── StoreUnavailable           the database is away, busy or full: worth trying again
    ├── SinkFailed                     a sink did not take entries; they are sent again
    └── RelayError                     what a client is answered with
        ├── InvalidRequest             400     invalid_request_error   no
        ├── Unauthorized               401     authentication_error    no
        ├── PermissionDenied           403     permission_error        no
        ├── NotFound                   404     not_found_error         no
        ├── MethodNotAllowed           405     invalid_request_error   no
        ├── RequestTimeout             408     invalid_request_error   yes
        ├── BodyTooLarge               413     request_too_large       no
        ├── ExpectationFailed          417     invalid_request_error   no
        ├── RateLimited                429     rate_limit_error        yes, after `retry-after`
        ├── BudgetReached              429     billing_error           no
        ├── HeadTooLarge               431     invalid_request_error   no
        ├── VersionNotSupported        505     invalid_request_error   no
        ├── UpstreamUnreachable        502     api_error               yes
        ├── UpstreamInvalid            502     api_error               yes
        ├── UpstreamTimeout            504     timeout_error           yes
        ├── Unavailable                503     api_error               yes
        ├── OwnersUnknown              503     api_error               yes
        ├── InternalError              500     api_error               no
        └── Overloaded                 529     overloaded_error        yes

Types and statuses are Anthropic's. `x-should-retry: false` goes with every error that asking
again cannot mend: without it the official clients retry some of them for minutes.
"""

from __future__ import annotations

import msgspec

from ferryman.wording import without_keys


class FerrymanError(Exception):
    """The root of all errors that Ferryman raises itself."""


class SettingsError(FerrymanError):
    """One or more settings are wrong; `problems` holds a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(FerrymanError):
    """A process dies again and again before it has ever worked; its log says why."""


class JournalUnwritable(FerrymanError):
    """The journal cannot be written: a full disk, a directory that is not ours, a second writer."""


class JournalUnreadable(FerrymanError):
    """The journal, or the place where its reading stopped, is not one that can be read here."""


class StoreError(FerrymanError):
    """The database cannot do what it was asked, and asking again will not help."""


class StoreUnavailable(StoreError):
    """The database is away, busy, full or too slow: what was asked was not done, and may be asked again."""


class SinkFailed(FerrymanError):
    """A sink did not take what was sent to it.

    Attributes:
        refused: it has read these entries and does not want them; the same ones again will not help.
        after_seconds: how long it wants to be left alone, 0 if it has not said so.
    """

    def __init__(self, message: str, *, refused: bool = False, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.refused = refused
        self.after_seconds = after_seconds


class RelayError(FerrymanError):
    """An error that is answered to the client in Anthropic's shape.

    Attributes:
        status: the HTTP status.
        error_type: Anthropic's `error.type`.
        retry: what the client is told in `x-should-retry`; `None` leaves the header out,
            so that the client's own rule for the status holds.
        retry_after_seconds: whole seconds for `retry-after`, `None` for no such header.
        error_code: Anthropic's `error.details.error_code`, `None` for none.
        headers: further ones of the answer.
        message: what failed, the value in question, and what to do; never a key, whatever it was made of.
    """

    status = 500
    error_type = "api_error"
    retry: bool | None = False
    retry_after_seconds: int | None = None
    error_code: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, message: str) -> None:
        self.message = without_keys(message)
        super().__init__(self.message)


class InvalidRequest(RelayError):
    """The request is malformed or ambiguous."""

    status = 400
    error_type = "invalid_request_error"


class Unauthorized(RelayError):
    """A key is needed, and there is none, or one that is not known, is blocked or has expired."""

    status = 401
    error_type = "authentication_error"


class PermissionDenied(RelayError):
    """The key is known, and this is not for it."""

    status = 403
    error_type = "permission_error"


class NotFound(RelayError):
    """No such path here, or no such model or file for this key."""

    status = 404
    error_type = "not_found_error"


class MethodNotAllowed(RelayError):
    """CONNECT, or TRACE, which would show the upstream's credential to the client."""

    status = 405
    error_type = "invalid_request_error"


class RequestTimeout(RelayError):
    """The client began a request and did not finish it in time."""

    status = 408
    error_type = "invalid_request_error"
    retry = None


class BodyTooLarge(RelayError):
    """The request body is larger than we take."""

    status = 413
    error_type = "request_too_large"


class ExpectationFailed(RelayError):
    """An `Expect` other than `100-continue` (RFC 9110, section 10.1.1)."""

    status = 417
    error_type = "invalid_request_error"


class RateLimited(RelayError):
    """More requests or tokens than a limit allows; `None` seconds where it never has room for so much."""

    status = 429
    error_type = "rate_limit_error"

    def __init__(self, message: str, retry_after_seconds: int | None = 1) -> None:
        super().__init__(message)
        self.retry = False if retry_after_seconds is None else None
        self.retry_after_seconds = retry_after_seconds


class BudgetReached(RelayError):
    """A budget does not allow the call. Asking again costs a client minutes: it is told not to."""

    status = 429
    error_type = "billing_error"

    def __init__(
        self,
        message: str,
        retry_after_seconds: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        error_code: str | None = "enforced_spend_limit_reached",
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers
        self.error_code = error_code


class HeadTooLarge(RelayError):
    """The request line and headers are larger than we take."""

    status = 431
    error_type = "invalid_request_error"


class VersionNotSupported(RelayError):
    """An HTTP version other than 1.0 and 1.1."""

    status = 505
    error_type = "invalid_request_error"


class UpstreamUnreachable(RelayError):
    """No connection to the upstream, or it was lost before an answer."""

    status = 502
    retry = None


class UpstreamInvalid(RelayError):
    """The upstream's answer is not HTTP as we take it."""

    status = 502
    retry = None


class UpstreamTimeout(RelayError):
    """The upstream took longer than it was given."""

    status = 504
    error_type = "timeout_error"
    retry = None


class Unavailable(RelayError):
    """The control plane, which answers Ferryman's own paths, is not there."""

    status = 503
    retry = None
    retry_after_seconds = 1


class OwnersUnknown(RelayError):
    """Who made a resource cannot be told for now, so that nobody is let see it."""

    status = 503
    retry = True
    retry_after_seconds = 1


class InternalError(RelayError):
    """A mistake of ours; the traceback is in the log."""


class Overloaded(RelayError):
    """A bound of ours is reached; asking again a little later can succeed."""

    status = 529
    error_type = "overloaded_error"
    retry = None
    retry_after_seconds = 1


_ENCODER = msgspec.json.Encoder()


def error_body(error: RelayError, request_id: str) -> bytes:
    """The JSON body in which a client is told of `error`, as Anthropic writes it."""
    told: dict[str, object] = {"type": error.error_type, "message": error.message}
    if error.error_code is not None:
        told["details"] = {"error_code": error.error_code}
    return _ENCODER.encode({"type": "error", "error": told, "request_id": request_id})


def error_headers(error: RelayError) -> list[tuple[bytes, bytes]]:
    """The headers that make the official clients do the right thing with `error`."""
    headers = [(b"content-type", b"application/json")]
    if error.status == 405:  # RFC 9110, section 15.5.6
        headers.append((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    if error.retry is not None:
        headers.append((b"x-should-retry", b"true" if error.retry else b"false"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    headers += error.headers
    return headers
