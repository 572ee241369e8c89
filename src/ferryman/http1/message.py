"""What is known of a request or a response.

Apart from who reads it, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

import msgspec


class Fields(msgspec.Struct, gc=False):
    """The header lines of a message. A Struct, since its constructor runs in C.

    Attributes:
        block: all lines, each behind a CRLF; of a repeated head with the length of the first one.
        kept: those that are passed on, in order.
        found: the value of each watched or dropped header, by its name in lower case; the last if
            it is repeated.
        repeated: names of those that stand more than once.
        memo, second_memo, third_memo, caller_memo: what four readers of these lines want to find again
            when a client repeats its head.
    """

    block: bytes
    kept: bytes
    found: dict[bytes, bytes]
    repeated: list[bytes]
    memo: object = None
    second_memo: object = None
    third_memo: object = None
    caller_memo: object = None

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


class Request(msgspec.Struct, eq=False):
    """The head of a request as it came, and its body as far as it has come.

    A Struct, since its constructor runs in C.

    Attributes:
        method, target, fields: as they came.
        http10: the version is HTTP/1.0.
        length: the value of `Content-Length`, `None` if the body is chunked or absent.
        chunked: the body ends where its chunks say.
        expects_continue: the client waits for a `100 Continue`.
        complete: all of it has come.
    """

    method: bytes
    target: bytes
    fields: Fields
    http10: bool = False
    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    complete: bool = False


class ResponseHead(msgspec.Struct, eq=False):
    """Status and headers of a final response.

    `length` is the value of `Content-Length`, `None` if the body is chunked, ends with the
    connection, or does not exist.
    """

    status: int
    fields: Fields
    length: int | None
