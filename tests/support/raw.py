"""HTTP by hand: what is sent is exactly what a test wrote, and what came is kept as it came."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import NamedTuple, Self

DEADLINE_SECONDS = 10.0

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of `httpx` that speak plain HTTP: each reads all authorities otherwise, which takes 50 ms."""

Headers = list[tuple[bytes, bytes]]


class RawRequest(NamedTuple):
    """A request as it arrived."""

    line: bytes
    headers: Headers
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, by its lower-case name."""
        return [value for key, value in self.headers if key.lower() == name]


class RawResponse(NamedTuple):
    """A response as it arrived; `body` without framing, `chunks` as they were framed."""

    status: int
    headers: Headers
    body: bytes
    chunks: list[bytes]
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, by its lower-case name."""
        return [value for key, value in self.headers if key.lower() == name]


class RawClient:
    """One connection to the gateway."""

    def __init__(self, port: int, *, sock: socket.socket | None = None) -> None:
        """Connect to `port`, unless `sock` is connected already."""
        if sock is None:
            sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, data: bytes, *, head_only: bool = False) -> RawResponse:
        """Send `data` and read one response."""
        self.send(data)
        return self.response(head_only=head_only)

    def response(self, *, head_only: bool = False) -> RawResponse:
        """Read one response; `head_only` for the answer to a HEAD."""
        response, self.buffer = read_response(self.sock, self.buffer, head_only=head_only)
        return response

    def read_until(self, mark: bytes) -> bytes:
        """Read until `mark` has come; what came up to its end."""
        while mark not in self.buffer:
            self.buffer += receive(self.sock)
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def read_to_end(self) -> bytes:
        """Read until the gateway closes. ConnectionResetError if it cuts."""
        while data := self.sock.recv(65536):
            self.buffer += data
        return self.buffer


def post(
    body: bytes,
    *,
    path: bytes = b"/v1/messages",
    headers: bytes = b"anthropic-version: 2023-06-01\r\n",
) -> bytes:
    """A POST with `Content-Length`; `headers` are further lines with CRLF."""
    head = b"POST %b HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n" % path
    return head + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: bytes = b"/v1/models", *, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    """A request without a body."""
    return b"%b %b HTTP/1.1\r\nHost: gateway\r\n%b\r\n" % (method, path, headers)


def receive(sock: socket.socket) -> bytes:
    """The next bytes; ConnectionError at the end."""
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data


def read_head(sock: socket.socket, buffer: bytes) -> tuple[bytes, Headers, bytes]:
    """First line, headers, and what came behind them."""
    while b"\r\n\r\n" not in buffer:
        buffer += receive(sock)
    head, _, rest = buffer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name, value.strip(b" \t")))
    return first, headers, rest


def read_line(sock: socket.socket, buffer: bytes) -> tuple[bytes, bytes]:
    """The next line without its end, and what came behind it."""
    while b"\r\n" not in buffer:
        buffer += receive(sock)
    line, _, buffer = buffer.partition(b"\r\n")
    return line, buffer


def read_chunks(sock: socket.socket, buffer: bytes, *, trailers: bool) -> tuple[list[bytes], bytes]:
    """The chunks of a chunked body, and what came behind it; with `trailers` there may be some."""
    chunks: list[bytes] = []
    while True:
        size_line, buffer = read_line(sock, buffer)
        size = int(size_line, 16)
        if not size:
            line, buffer = read_line(sock, buffer)
            while line and trailers:
                line, buffer = read_line(sock, buffer)
            assert line == b""
            return chunks, buffer
        while len(buffer) < size + 2:
            buffer += receive(sock)
        data, end, buffer = buffer[:size], buffer[size : size + 2], buffer[size + 2 :]
        assert end == b"\r\n"
        chunks.append(data)


def read_exactly(sock: socket.socket, buffer: bytes, size: int) -> tuple[bytes, bytes]:
    """The next `size` bytes, and what came behind them."""
    if len(buffer) < size:
        data = bytearray(buffer)  # of tens of megabytes: grown, not copied with each read
        while len(data) < size:
            data += receive(sock)
        buffer = bytes(data)
    return buffer[:size], buffer[size:]


def read_request(sock: socket.socket, buffer: bytes) -> tuple[RawRequest, bytes]:
    """One request, and what came behind it."""
    line, headers, buffer = read_head(sock, buffer)
    request = RawRequest(line, headers, b"")
    if request.values(b"transfer-encoding"):
        chunks, buffer = read_chunks(sock, buffer, trailers=True)
        return request._replace(body=b"".join(chunks)), buffer
    body, rest = read_exactly(sock, buffer, int((request.values(b"content-length") or [b"0"])[0]))
    return request._replace(body=body), rest


def read_response(sock: socket.socket, buffer: bytes, *, head_only: bool) -> tuple[RawResponse, bytes]:
    """One response, and what came behind it."""
    start = buffer
    line, headers, rest = read_head(sock, start)
    status = int(line.split()[1])
    response = RawResponse(status, headers, b"", [], line)
    if head_only or status in {204, 304} or status < 200:
        return response, rest
    if response.values(b"transfer-encoding"):
        chunks, rest = read_chunks(sock, rest, trailers=False)
        return response._replace(body=b"".join(chunks), chunks=chunks), rest
    lengths = response.values(b"content-length")
    if not lengths:
        while data := sock.recv(65536):
            rest += data
        return response._replace(body=rest), b""
    body, rest = read_exactly(sock, rest, int(lengths[0]))
    return response._replace(body=body), rest
