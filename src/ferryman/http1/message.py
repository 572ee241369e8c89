"""What is known of a request or a response."""

from __future__ import annotations


class Fields:
    """The header lines of a message.

    Attributes:
        block: all lines, each behind a CRLF; of a repeated head with the length of the first one.
        kept: those that are passed on, in order.
        found: the value of each watched or dropped header, by its name in lower case; the last if
            it is repeated.
        repeated: names of those that stand more than once.
        memo, second_memo, third_memo, caller_memo: what four readers of these lines want to find again
            when a client repeats its head.
    """

    __slots__ = ("block", "caller_memo", "found", "kept", "memo", "repeated", "second_memo", "third_memo")

    def __init__(self, block: bytes, kept: bytes, found: dict[bytes, bytes], repeated: list[bytes]) -> None:
        self.block = block
        self.kept = kept
        self.found = found
        self.repeated = repeated
        self.memo: object = None
        self.second_memo: object = None
        self.third_memo: object = None
        self.caller_memo: object = None

    def values(self, name: bytes) -> list[bytes]:
        """All values of the watched header `name`, in order."""
        if name not in self.repeated:
            return [self.found[name]] if name in self.found else []
        lines = (line.partition(b":") for line in self.block.split(b"\r\n"))
        return [value.strip(b" \t") for key, _, value in lines if key.lower() == name]

    def text(self, name: bytes) -> str | None:
        """The value of the watched header `name` as text, `None` if there is none."""
        value = self.found.get(name)
        return None if value is None else value.decode("latin-1")


class Request:
    """The head of a request as it came, and its body as far as it has come.

    Attributes:
        method, target, fields: as they came.
        http10: the version is HTTP/1.0.
        length: the value of `Content-Length`, `None` if the body is chunked or absent.
        chunked: the body ends where its chunks say.
        expects_continue: the client waits for a `100 Continue`.
        complete: all of it has come.
    """

    __slots__ = ("chunked", "complete", "expects_continue", "fields", "http10", "length", "method", "target")

    def __init__(  # noqa: PLR0913  # one a member
        self,
        method: bytes,
        target: bytes,
        fields: Fields,
        *,
        http10: bool = False,
        length: int | None = None,
        chunked: bool = False,
        expects_continue: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.http10 = http10
        self.length = length
        self.chunked = chunked
        self.expects_continue = expects_continue
        self.complete = False


class ResponseHead:
    """Status and headers of a final response.

    `length` is the value of `Content-Length`, `None` if the body is chunked, ends with the
    connection, or does not exist.
    """

    __slots__ = ("fields", "length", "status")

    def __init__(self, status: int, fields: Fields, length: int | None) -> None:
        self.status = status
        self.fields = fields
        self.length = length
