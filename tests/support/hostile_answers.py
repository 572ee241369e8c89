"""Answers that two clients could read as two different ones, as a broken or captured upstream sends them."""

from __future__ import annotations

from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nX-Upstream: 1\r\n"
LENGTH = OK + b"Content-Length: 2\r\n\r\n{}"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nX-Upstream: 1\r\nContent-Length: 4\r\n\r\nEVIL"

FIELDS = {
    "lf-in-value": b"A: b\nSet-Cookie: EVIL", "cr-in-value": b"A: b\rSet-Cookie: EVIL",
    "nul-in-value": b"A: b\x00c", "cr-cr-lf": b"A: b\r\r\nC: d", "fold": b"A: b\r\n c",
    "fold-tab": b"A: b\r\n\tc", "space-before-colon": b"A : b", "space-in-name": b"A b: c",
    "nul-in-name": b"A\x00: b", "high-in-name": b"A\xe9: b", "no-colon": b"EVIL", "empty-name": b": b",
    "control-in-value": b"A: b\x01c", "delete-in-value": b"A: b\x7fc", "high-in-value": b"A: \xe9",
    "split-inside": b"A: b\r\n\r\nEVIL", "two-lengths": b"Content-Length: 3",
    "same-length": b"Content-Length: 2", "length-space": b"Content-Length : 3",
    "coding": b"Transfer-Encoding: chunked", "coding-space": b"Transfer-Encoding : chunked",
    "coding-other": b"Transfer-Encoding: xchunked", "coding-identity": b"Transfer-Encoding: identity",
    "coding-empty": b"Transfer-Encoding:", "connection-nominates": b"Connection: content-length",
    "underscore-length": b"Content_Length: 3", "trailer": b"Trailer: Content-Length",
    "huge": b"A: " + b"x" * 100_000, "many": b"\r\n".join([b"A: b"] * 3000),
    "upgrade": b"Connection: upgrade\r\nUpgrade: h2c",
}  # fmt: skip

LENGTHS = {
    "plus": b" +2", "minus": b" -2", "hex": b" 0x2", "empty": b"", "list": b" 2, 2", "list-other": b" 2, 3",
    "space": b" 2 2", "zeros": b" 002", "huge": b" 99999999999999999999",
    "overflow": b" 18446744073709551618", "letter": b" 2a", "tab": b"\t2", "fraction": b" 2.0",
    "short": b" 1", "long": b" 9", "nul": b" 2\x00",
}  # fmt: skip

CODINGS = {
    "upper": b" CHUNKED", "twice": b" chunked, chunked", "gzip": b" gzip, chunked",
    "behind": b" chunked, gzip", "xchunked": b" xchunked", "parameter": b" chunked;x",
    "comma": b" chunked,", "quoted": b' "chunked"', "vertical-tab": b" \x0bchunked",
    "line-twice": b" chunked\r\nTransfer-Encoding: chunked",
    "identity-line": b" identity\r\nTransfer-Encoding: chunked", "only-identity": b" identity",
}  # fmt: skip

CHUNKS = {
    "plain": b"2\r\n{}\r\n0\r\n\r\n", "sign": b"+2\r\n{}\r\n0\r\n\r\n", "minus": b"-2\r\n{}\r\n0\r\n\r\n",
    "prefix": b"0x2\r\n{}\r\n0\r\n\r\n", "zeros": b"0002\r\n{}\r\n00\r\n\r\n",
    "space": b" 2\r\n{}\r\n0\r\n\r\n", "overflow": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "lf": b"2\n{}\n0\n\n", "size-lf": b"2\n{}\r\n0\r\n\r\n", "data-long": b"2\r\n{}x\r\n0\r\n\r\n",
    "data-short": b"4\r\n{}\r\n0\r\n\r\n", "no-crlf": b"2\r\n{}0\r\n\r\n", "no-end": b"2\r\n{}\r\n",
    "no-blank": b"2\r\n{}\r\n0\r\n", "extension": b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "extension-cr": b"2;a\rb\r\n{}\r\n0\r\n\r\n", "extension-lf": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "trailer": b"2\r\n{}\r\n0\r\nA: b\r\n\r\n", "trailer-no-colon": b"2\r\n{}\r\n0\r\nEVIL\r\n\r\n",
    "letters": b"xyz\r\n{}\r\n0\r\n\r\n", "empty-size": b"\r\n{}\r\n0\r\n\r\n", "none": b"0\r\n\r\n",
    "nothing": b"",
}  # fmt: skip

STATUS_LINES = {
    "two-spaces": b"HTTP/1.1  200 OK", "tab": b"HTTP/1.1\t200 OK", "no-phrase": b"HTTP/1.1 200",
    "empty-phrase": b"HTTP/1.1 200 ", "two-digits": b"HTTP/1.1 20 OK", "four-digits": b"HTTP/1.1 2000 OK",
    "minus": b"HTTP/1.1 -20 OK", "letters": b"HTTP/1.1 abc OK", "status-0": b"HTTP/1.1 000 OK",
    "status-99": b"HTTP/1.1 099 OK", "status-600": b"HTTP/1.1 600 OK", "status-999": b"HTTP/1.1 999 OK",
    "http-1.0": b"HTTP/1.0 200 OK", "http-1.2": b"HTTP/1.2 200 OK", "http-2.0": b"HTTP/2.0 200 OK",
    "http-0.9": b"HTTP/0.9 200 OK", "http-9.9": b"HTTP/9.9 200 OK", "http-1.10": b"HTTP/1.10 200 OK",
    "lower": b"http/1.1 200 OK", "space-before": b" HTTP/1.1 200 OK",
    "junk-before": b"junk\r\nHTTP/1.1 200 OK", "icy": b"ICY 200 OK", "rtsp": b"RTSP/1.0 200 OK",
    "nul-in-phrase": b"HTTP/1.1 200 O\x00K", "cr-in-phrase": b"HTTP/1.1 200 O\rSet-Cookie: EVIL",
    "lf-in-phrase": b"HTTP/1.1 200 O\nSet-Cookie: EVIL", "blank-before": b"\r\nHTTP/1.1 200 OK",
    "request": b"GET / HTTP/1.1", "high-phrase": b"HTTP/1.1 200 \xe9",
}  # fmt: skip

WHOLE = {
    "good": LENGTH, "nothing": b"", "half-line": b"HTTP/1.1 2", "half-head": OK,
    "half-body": OK + b"Content-Length: 9\r\n\r\n{}", "second-answer": LENGTH + EVIL,
    "second-half": LENGTH + EVIL[:20], "extra-bytes": LENGTH + b"EVIL",
    "extra-line": LENGTH + b"\r\n" + EVIL, "second-behind-chunks": CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + EVIL,
    "204-with-body": b"HTTP/1.1 204 X\r\nX-Upstream: 1\r\nContent-Length: 4\r\n\r\nEVIL",
    "204-chunked": b"HTTP/1.1 204 X\r\nX-Upstream: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n",
    "204-bytes": b"HTTP/1.1 204 X\r\nX-Upstream: 1\r\n\r\nEVIL",
    "304-with-body": b"HTTP/1.1 304 X\r\nX-Upstream: 1\r\nContent-Length: 4\r\n\r\nEVIL",
    "304-then-answer": b"HTTP/1.1 304 X\r\nX-Upstream: 1\r\n\r\n" + EVIL,
    "205-with-body": b"HTTP/1.1 205 X\r\nX-Upstream: 1\r\nContent-Length: 2\r\n\r\n{}",
    "100-then-answer": b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH,
    "103-then-answer": b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n" + LENGTH,
    "100-with-length": b"HTTP/1.1 100 Continue\r\nContent-Length: %d\r\n\r\n" % len(LENGTH) + LENGTH,
    "100-flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + LENGTH,
    "103-flood": b"HTTP/1.1 103 X\r\nA: b\r\n\r\n" * 2000 + LENGTH,
    "101": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nEVIL",
    "101-bare": b"HTTP/1.1 101 X\r\n\r\n" + LENGTH,
    "all-lf": b"HTTP/1.1 200 OK\nX-Upstream: 1\nContent-Length: 2\n\n{}",
    "all-cr": b"HTTP/1.1 200 OK\rX-Upstream: 1\rContent-Length: 2\r\r{}",
    "lf-cr": b"HTTP/1.1 200 OK\n\rX-Upstream: 1\n\r\n\r{}", "lf-end": OK + b"Content-Length: 2\r\n\n{}",
    "http-0.9": b"EVIL", "tls": b"\x15\x03\x01\x00\x02\x02\x0a",
    "http-1.0-chunked": b"HTTP/1.0 200 OK\r\nX-Upstream: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + EVIL,
    "closing-with-second": OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}" + EVIL,
    "to-the-end": OK + b"\r\n{}", "h2-settings": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}  # fmt: skip

HEADS = {
    "with-body": OK + b"Content-Length: 4\r\n\r\nEVIL", "chunked": CHUNKED + b"4\r\nEVIL\r\n0\r\n\r\n",
    "with-answer": OK + b"Content-Length: 4\r\n\r\n" + EVIL, "good": OK + b"Content-Length: 4\r\n\r\n",
}  # fmt: skip
"""Answers to a HEAD."""


def _families() -> Iterator[tuple[str, dict[str, bytes]]]:
    end = b"\r\nContent-Length: 2\r\n\r\n{}"
    length, coding = OK + b"Content-Length:", OK + b"Transfer-Encoding:"
    yield "field", {name: OK + line + end for name, line in FIELDS.items()}
    yield "length", {name: length + value + b"\r\n\r\n{}" for name, value in LENGTHS.items()}
    yield "coding", {name: coding + value + b"\r\n\r\n" + CHUNKS["plain"] for name, value in CODINGS.items()}
    yield "chunk", {name: CHUNKED + data for name, data in CHUNKS.items()}
    yield "status", {name: line + b"\r\nX-Upstream: 1" + end for name, line in STATUS_LINES.items()}
    yield "whole", WHOLE
    yield "head", HEADS


ANSWERS = {f"{family} {name}": data for family, answers in _families() for name, data in answers.items()}
"""By name."""
