"""Requests that two servers could read as two different ones, and others at the edge of the grammar."""

from __future__ import annotations

from collections.abc import Iterator

POST = b"POST /v1/case000 HTTP/1.1\r\nHost: g\r\n"
GET = b"GET /v1/case000 HTTP/1.1\r\nHost: g\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
NEXT = b"GET /v1/case000/next HTTP/1.1\r\nHost: g\r\n\r\n"
BODY = b"2\r\n{}\r\n0\r\n\r\n"

LENGTHS = {
    "plus": b" +2", "minus": b" -2", "space-within": b" 4 2", "comma-same": b" 2, 2",
    "comma-other": b" 2, 3", "comma-behind": b" 2,", "hex": b" 0x2", "leading-zeros": b" 0002",
    "many-zeros": b" " + b"0" * 30 + b"2", "two-to-the-63": b" 9223372036854775808",
    "two-to-the-64-and-2": b" 18446744073709551618", "two-to-the-32-and-2": b" 4294967298", "empty": b"",
    "blank": b" ", "underscore": b" 1_2", "unicode-digit": " ２".encode(), "arabic-digit": " ٢".encode(),
    "high-byte": b" 2\xa0", "tab-before": b"\t2", "tab-behind": b" 2\t", "spaces-around": b"   2   ",
    "vertical-tab": b" \x0b2", "form-feed-behind": b" 2\x0c", "fraction": b" 2.0", "exponent": b" 2e0",
    "letter": b" 2a", "quoted": b' "2"', "semicolon": b" 2;x", "nul": b" 2\x00", "cr-within": b" 2\r",
    "folded": b"\r\n 2", "folded-behind": b" 2\r\n 3", "negative-zero": b" -0",
}  # fmt: skip

CODINGS = {
    "upper": b" CHUNKED", "title": b" Chunked", "mixed": b" cHuNkEd", "tab-before": b"\tchunked",
    "tab-behind": b" chunked\t", "vertical-tab": b" \x0bchunked", "vertical-tab-behind": b" chunked\x0b",
    "form-feed": b" \x0cchunked", "no-space": b"chunked", "comma-behind": b" chunked,",
    "comma-before": b" ,chunked", "quoted": b' "chunked"', "single-quoted": b" 'chunked'",
    "parameter": b" chunked;x", "parameter-value": b" chunked;q=0.5", "xchunked": b" xchunked",
    "chunkedx": b" chunkedx", "two-words": b" chunked chunked", "twice": b" chunked, chunked",
    "identity": b" identity", "identity-chunked": b" identity, chunked",
    "chunked-identity": b" chunked, identity", "gzip-chunked": b" gzip, chunked",
    "chunked-gzip": b" chunked, gzip", "gzip": b" gzip", "empty": b"", "nul": b" chunked\x00",
    "high-byte": b" chunked\xa0", "folded": b"\r\n chunked", "folded-behind": b" chunked\r\n x",
    "cr-behind": b" chunked\r", "bell": b" \x07chunked", "none": b" none",
    "line-twice": b" chunked\r\nTransfer-Encoding: chunked",
    "line-identity": b" chunked\r\nTransfer-Encoding: identity",
    "identity-line": b" identity\r\nTransfer-Encoding: chunked",
    "empty-line": b"\r\nTransfer-Encoding: chunked", "gzip-line": b" gzip\r\nTransfer-Encoding: chunked",
}  # fmt: skip

CONFLICTS = {
    "length-chunked": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "chunked-length": b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n" + BODY,
    "length-xchunked": b"Content-Length: 2\r\nTransfer-Encoding: xchunked\r\n\r\n{}",
    "length-identity": b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}",
    "length-empty-coding": b"Content-Length: 2\r\nTransfer-Encoding:\r\n\r\n{}",
    "length-space-coding": b"Content-Length: 2\r\nTransfer-Encoding : chunked\r\n\r\n" + BODY,
    "length-tab-coding": b"Content-Length: 2\r\nTransfer-Encoding\t: chunked\r\n\r\n" + BODY,
    "length-coding-with-underscore": b"Content-Length: 2\r\nTransfer_Encoding: chunked\r\n\r\n{}",
    "length-folded-coding": b"Content-Length: 2\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + BODY,
    "length-behind-fold": b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    "length-coding-vertical-tab": b"Content-Length: 2\r\nTransfer-Encoding: \x0bchunked\r\n\r\n" + BODY,
    "length-same-twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length-other-twice": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length-case-twice": b"content-length: 2\r\nCONTENT-LENGTH: 2\r\n\r\n{}",
    "length-three-times": b"Content-Length: 2\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length-space-colon": b"Content-Length : 2\r\n\r\n{}",
    "length-apart": b"Content-Length: 2\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "zero-length-chunked": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "nominated-length": b"Connection: content-length\r\nContent-Length: 2\r\n\r\n{}",
    "nominated-coding": b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "nominated-both": b"Connection: content-length, transfer-encoding\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + BODY,
    "nominated-host": b"Connection: host\r\nContent-Length: 2\r\n\r\n{}",
    "nominated-authorization": b"Connection: authorization\r\n"
    b"Authorization: Bearer x\r\nContent-Length: 2\r\n\r\n{}",
    "length-shorter": b"Content-Length: 1\r\n\r\n{}", "length-longer": b"Content-Length: 200\r\n\r\n{}",
    "length-hides-next": b"Content-Length: %d\r\n\r\n" % len(NEXT), "no-length": b"\r\n{}",
    "no-length-no-body": b"\r\n",
}  # fmt: skip

CHUNKS = {
    "plain": BODY, "upper-hex": b"A\r\n0123456789\r\n0\r\n\r\n",
    "leading-zeros": b"0002\r\n{}\r\n000\r\n\r\n", "very-many-zeros": b"0" * 40 + b"2\r\n{}\r\n0\r\n\r\n",
    "plus": b"+2\r\n{}\r\n0\r\n\r\n", "minus": b"-2\r\n{}\r\n0\r\n\r\n",
    "hex-prefix": b"0x2\r\n{}\r\n0\r\n\r\n", "space-before": b" 2\r\n{}\r\n0\r\n\r\n",
    "space-behind": b"2 \r\n{}\r\n0\r\n\r\n", "tab-behind": b"2\t\r\n{}\r\n0\r\n\r\n",
    "space-within": b"0 2\r\n{}\r\n0\r\n\r\n", "overflow-64": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "overflow-32": b"100000002\r\n{}\r\n0\r\n\r\n", "largest": b"ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "largest-signed": b"7fffffffffffffff\r\n{}\r\n0\r\n\r\n", "empty-size": b"\r\n{}\r\n0\r\n\r\n",
    "letters": b"xyz\r\n{}\r\n0\r\n\r\n", "underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "comma": b"2,2\r\n{}\r\n0\r\n\r\n", "extension": b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "extension-bare": b"2;\r\n{}\r\n0\r\n\r\n", "extension-space": b"2 ; a=b\r\n{}\r\n0\r\n\r\n",
    "extension-quoted": b'2;a="b c"\r\n{}\r\n0\r\n\r\n',
    "extension-quoted-crlf": b'2;a="b\r\nc"\r\n{}\r\n0\r\n\r\n',
    "extension-open-quote": b'2;a="b\r\n{}\r\n0\r\n\r\n', "extension-lf": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "extension-cr": b"2;a\rb\r\n{}\r\n0\r\n\r\n", "extension-nul": b"2;a\x00b\r\n{}\r\n0\r\n\r\n",
    "extension-high": b"2;a=\xff\r\n{}\r\n0\r\n\r\n", "extension-only-name": b"2;a\r\n{}\r\n0\r\n\r\n",
    "extension-equals": b"2;=\r\n{}\r\n0\r\n\r\n", "extension-of-last": b"2\r\n{}\r\n0;a=b\r\n\r\n",
    "extension-without-semicolon": b"2 a=b\r\n{}\r\n0\r\n\r\n",
    "extension-huge": b"2;a=" + b"x" * 40_000 + b"\r\n{}\r\n0\r\n\r\n",
    "extensions-many": b"".join(b"1;a=%b\r\nx\r\n" % (b"x" * 1000) for _ in range(60)) + b"0\r\n\r\n",
    "data-without-crlf": b"2\r\n{}0\r\n\r\n", "data-longer": b"2\r\n{}x\r\n0\r\n\r\n",
    "data-shorter": b"3\r\n{}\r\n0\r\n\r\n", "data-lf": b"2\r\n{}\n0\r\n\r\n",
    "data-cr": b"2\r\n{}\r0\r\n\r\n", "data-other-bytes": b"2\r\n{}XX0\r\n\r\n",
    "size-lf": b"2\n{}\r\n0\r\n\r\n", "size-cr": b"2\r{}\r\n0\r\n\r\n", "all-lf": b"2\n{}\n0\n\n",
    "last-lf": b"2\r\n{}\r\n0\n\n", "size-cr-cr-lf": b"2\r\r\n{}\r\n0\r\n\r\n",
    "end-cr-cr-lf": b"2\r\n{}\r\n0\r\n\r\r\n", "no-end": b"2\r\n{}\r\n",
    "last-without-blank": b"2\r\n{}\r\n0\r\n", "minus-zero": b"2\r\n{}\r\n-0\r\n\r\n",
    "trailer": b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    "trailer-length": b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "trailer-host": b"2\r\n{}\r\n0\r\nHost: evil\r\n\r\n",
    "trailer-coding": b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer-no-colon": b"2\r\n{}\r\n0\r\nevil\r\n\r\n", "trailer-space": b"2\r\n{}\r\n0\r\nX : y\r\n\r\n",
    "trailer-fold": b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer-nul": b"2\r\n{}\r\n0\r\nX: \x00\r\n\r\n", "trailer-lf": b"2\r\n{}\r\n0\r\nX: y\n\r\n",
    "trailer-cr": b"2\r\n{}\r\n0\r\nX: y\rz\r\n\r\n",
    "trailer-request": b"2\r\n{}\r\n0\r\nGET /v1/case000/evil HTTP/1.1\r\nHost: g\r\n\r\n",
    "trailer-empty-name": b"2\r\n{}\r\n0\r\n: y\r\n\r\n",
    "trailer-two-lengths": b"2\r\n{}\r\n0\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n",
    "trailer-huge": b"2\r\n{}\r\n0\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    "trailers-many": b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
    "trailer-authorization": b"2\r\n{}\r\n0\r\nAuthorization: Bearer evil\r\n\r\n",
}  # fmt: skip

LINES = {
    "space-in-name": b"A b: c", "tab-in-name": b"A\tb: c", "space-before-colon": b"A : c",
    "tab-before-colon": b"A\t: c", "nul-in-name": b"A\x00b: c", "high-in-name": b"A\xe9b: c",
    "delete-in-name": b"A\x7fb: c", "control-in-name": b"A\x01b: c", "underscore-in-name": b"A_b: c",
    "at-in-name": b"A@b: c", "parenthesis-in-name": b"A(b: c", "slash-in-name": b"A/b: c",
    "brackets-in-name": b"A[b]: c", "equals-in-name": b"A=b: c", "quote-in-name": b'A"b: c',
    "comma-in-name": b"A,b: c", "semicolon-in-name": b"A;b: c",
    "all-token-characters": b"!#$%&'*+-.^_`|~09azAZ: c", "nul-in-value": b"A: b\x00c",
    "cr-in-value": b"A: b\rc", "cr-behind-value": b"A: b\r", "lf-in-value": b"A: b\nB: c",
    "delete-in-value": b"A: b\x7fc", "control-in-value": b"A: b\x01c", "escape-in-value": b"A: b\x1bc",
    "backspace-in-value": b"A: b\x08c", "vertical-tab-in-value": b"A: b\x0bc",
    "form-feed-in-value": b"A: b\x0cc", "tab-in-value": b"A: b\tc", "high-in-value": b"A: b\xe9c",
    "utf-8-in-value": "A: b—c".encode(), "no-colon": b"evil", "empty-name": b": c", "colon-only": b":",
    "empty-value": b"A:", "many-colons": b"A:: b: c", "fold": b"A: b\r\n c", "fold-tab": b"A: b\r\n\tc",
    "fold-empty": b"A: b\r\n ", "fold-twice": b"A: b\r\n c\r\n d", "lf-only-end": b"A: b\nC: d",
    "lf-cr": b"A: b\n\rC: d", "cr-only-end": b"A: b\rC: d", "cr-cr-lf": b"A: b\r\r\nC: d",
    "te-trailers": b"TE: trailers", "te-chunked": b"TE: trailers, chunked;q=0.5",
    "upgrade-h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB",
    "upgrade-unknown": b"Connection: upgrade\r\nUpgrade: foo/2",
    "upgrade-without-connection": b"Upgrade: h2c", "connection-close": b"Connection: close",
    "connection-list": b"Connection: keep-alive, close", "connection-empty": b"Connection:",
    "connection-odd": b"Connection: @@,,;", "connection-nominates-itself": b"Connection: connection",
    "connection-twice": b"Connection: close\r\nConnection: keep-alive",
    "keep-alive": b"Keep-Alive: timeout=5", "proxy-connection": b"Proxy-Connection: keep-alive",
    "expect-nothing": b"Expect:", "expect-odd": b"Expect: miracles",
    "expect-continue": b"Expect: 100-continue", "expect-upper": b"Expect: 100-CONTINUE",
    "expect-list": b"Expect: 100-continue, x",
    "expect-twice": b"Expect: 100-continue\r\nExpect: 100-continue",
    "expect-parameter": b"Expect: 100-continue;x", "expect-number": b"Expect: 100",
    "bare-request-in-value": b"A: b GET /v1/case000/evil HTTP/1.1",
    "headers-150": b"\r\n".join([b"A: b"] * 150), "headers-very-many": b"\r\n".join([b"A: b"] * 1200),
    "value-20k": b"A: " + b"x" * 20_000, "value-100k": b"A: " + b"x" * 100_000,
    "name-100k": b"x" * 100_000 + b": a", "content-type-twice": b"Content-Type: a\r\nContent-Type: b",
}  # fmt: skip

HOSTS = {
    "none": b"", "same-twice": b"Host: a\r\nHost: a\r\n", "other-twice": b"Host: a\r\nHost: b\r\n",
    "comma": b"Host: a, b\r\n", "comma-bare": b"Host: a,b\r\n", "userinfo": b"Host: u@a\r\n",
    "password": b"Host: u:p@a\r\n", "path": b"Host: a/b\r\n", "query": b"Host: a?b\r\n",
    "fragment": b"Host: a#b\r\n", "backslash": b"Host: a\\b\r\n", "empty": b"Host:\r\n",
    "blank": b"Host:  \r\n", "port": b"Host: a:80\r\n", "bad-port": b"Host: a:b\r\n",
    "empty-port": b"Host: a:\r\n", "huge-port": b"Host: a:99999999\r\n", "two-ports": b"Host: a:1:2\r\n",
    "minus-port": b"Host: a:-1\r\n", "space": b"Host: a b\r\n", "tab": b"Host: a\tb\r\n",
    "nul": b"Host: a\x00\r\n", "high": b"Host: \xe9\r\n", "ipv6": b"Host: [::1]:80\r\n",
    "ipv6-open": b"Host: [::1\r\n", "ipv6-zone": b"Host: [::1%25lo]\r\n", "dot": b"Host: .\r\n",
    "dots": b"Host: a..b\r\n", "dot-behind": b"Host: a.\r\n", "percent": b"Host: a%2fb\r\n",
    "underscore": b"Host: a_b\r\n", "quotes": b'Host: "a"\r\n', "angle": b"Host: <a>\r\n",
    "upper": b"HOST: A\r\n", "space-before-colon": b"Host : a\r\n", "fold": b"Host:\r\n a\r\n",
    "url": b"Host: http://a\r\n", "control": b"Host: a\x01\r\n", "delete": b"Host: a\x7f\r\n",
    "space-first-line": b" Host: a\r\n", "semicolon": b"Host: a;b\r\n",
}  # fmt: skip

FIRST_LINES = {
    "two-spaces": b"GET  /v1/case000 HTTP/1.1", "two-spaces-before-version": b"GET /v1/case000  HTTP/1.1",
    "tab": b"GET\t/v1/case000 HTTP/1.1", "tab-before-version": b"GET /v1/case000\tHTTP/1.1",
    "space-behind": b"GET /v1/case000 HTTP/1.1 ", "tab-behind": b"GET /v1/case000 HTTP/1.1\t",
    "space-before": b" GET /v1/case000 HTTP/1.1", "tab-at-start": b"\tGET /v1/case000 HTTP/1.1",
    "lower-method": b"get /v1/case000 HTTP/1.1", "mixed-method": b"Get /v1/case000 HTTP/1.1",
    "method-at": b"G@T /v1/case000 HTTP/1.1", "method-high": b"G\xe9T /v1/case000 HTTP/1.1",
    "method-nul": b"G\x00T /v1/case000 HTTP/1.1", "method-colon": b"GET: /v1/case000 HTTP/1.1",
    "method-comma": b"GET,POST /v1/case000 HTTP/1.1", "method-unknown": b"FETCH /v1/case000 HTTP/1.1",
    "method-long": b"A" * 300 + b" /v1/case000 HTTP/1.1",
    "method-very-long": b"A" * 40_000 + b" /v1/case000 HTTP/1.1", "method-empty": b" /v1/case000 HTTP/1.1",
    "method-dash": b"M-SEARCH /v1/case000 HTTP/1.1", "method-digit": b"GET1 /v1/case000 HTTP/1.1",
    "method-propfind": b"PROPFIND /v1/case000 HTTP/1.1", "trace": b"TRACE /v1/case000 HTTP/1.1",
    "connect": b"CONNECT /v1/case000 HTTP/1.1", "connect-authority": b"CONNECT g:443 HTTP/1.1",
    "http-0.9": b"GET /v1/case000", "http-0.9-space": b"GET /v1/case000 ",
    "http-1": b"GET /v1/case000 HTTP/1", "http-1.": b"GET /v1/case000 HTTP/1.",
    "http-1.2": b"GET /v1/case000 HTTP/1.2", "http-1.9": b"GET /v1/case000 HTTP/1.9",
    "http-01.1": b"GET /v1/case000 HTTP/01.1", "http-1.01": b"GET /v1/case000 HTTP/1.01",
    "http-1.10": b"GET /v1/case000 HTTP/1.10", "http-11.1": b"GET /v1/case000 HTTP/11.1",
    "http-2.0": b"GET /v1/case000 HTTP/2.0", "http-0.9-named": b"GET /v1/case000 HTTP/0.9",
    "http-3.0": b"GET /v1/case000 HTTP/3.0", "http-lower": b"GET /v1/case000 http/1.1",
    "http-mixed": b"GET /v1/case000 Http/1.1", "http-comma": b"GET /v1/case000 HTTP/1,1",
    "http-minus": b"GET /v1/case000 HTTP/-1.1", "http-space": b"GET /v1/case000 HTTP/ 1.1",
    "https": b"GET /v1/case000 HTTPS/1.1", "icy": b"GET /v1/case000 ICE/1.0",
    "rtsp": b"GET /v1/case000 RTSP/1.0", "http-no-slash": b"GET /v1/case000 HTTP1.1",
    "fragment": b"GET /v1/case000#a HTTP/1.1", "fragment-in-query": b"GET /v1/case000?a#b HTTP/1.1",
    "space-in-target": b"GET /v1/case000 b HTTP/1.1", "high-target": b"GET /v1/case000\xe9 HTTP/1.1",
    "utf-8-target": "GET /v1/case000€ HTTP/1.1".encode(), "nul-target": b"GET /v1/case000\x00 HTTP/1.1",
    "control-target": b"GET /v1/case000\x01 HTTP/1.1", "delete-target": b"GET /v1/case000\x7f HTTP/1.1",
    "cr-target": b"GET /v1/case000\r HTTP/1.1", "cr-x-target": b"GET /v1/case000\rx HTTP/1.1",
    "lf-target": b"GET /v1/case000\n HTTP/1.1", "vertical-tab-target": b"GET /v1/case000\x0b HTTP/1.1",
    "quotes-target": b'GET /v1/case000"<> HTTP/1.1', "brackets-target": b"GET /v1/case000{}|^` HTTP/1.1",
    "backslash-target": b"GET /v1/case000\\a HTTP/1.1", "percent-bad": b"GET /v1/case000%zz HTTP/1.1",
    "percent-half": b"GET /v1/case000%a HTTP/1.1", "percent-end": b"GET /v1/case000% HTTP/1.1",
    "percent-nul": b"GET /v1/case000%00 HTTP/1.1",
    "percent-crlf": b"GET /v1/case000%0d%0aEvil:%20x HTTP/1.1",
    "query-crlf": b"GET /v1/case000?a=%0d%0aEvil:%20x HTTP/1.1",
    "query-odd": b"GET /v1/case000?a=%zz&&=?? HTTP/1.1", "question-marks": b"GET /v1/case000??a HTTP/1.1",
    "dot-segments": b"GET /v1/case000/../../x HTTP/1.1",
    "dot-segments-above": b"GET /v1/case000/../../../../x HTTP/1.1", "no-slash": b"GET v1/case HTTP/1.1",
    "asterisk": b"GET * HTTP/1.1", "asterisk-options": b"OPTIONS * HTTP/1.1",
    "authority": b"GET g:80 HTTP/1.1", "query-only": b"GET ?/v1/case000 HTTP/1.1",
    "absolute": b"GET http://g/v1/case000 HTTP/1.1", "absolute-upper": b"GET HTTP://g/v1/case000 HTTP/1.1",
    "absolute-other-host": b"GET http://evil/v1/case000 HTTP/1.1",
    "absolute-userinfo": b"GET http://u:p@g/v1/case000 HTTP/1.1",
    "absolute-port": b"GET http://g:80/v1/case000 HTTP/1.1",
    "absolute-bad-port": b"GET http://g:x/v1/case000 HTTP/1.1",
    "absolute-empty-host": b"GET http:///v1/case000 HTTP/1.1", "absolute-no-path": b"GET http://g HTTP/1.1",
    "absolute-query": b"GET http://g?/v1/case000 HTTP/1.1",
    "absolute-https": b"GET https://g/v1/case000 HTTP/1.1",
    "absolute-ftp": b"GET ftp://g/v1/case000 HTTP/1.1", "absolute-file": b"GET file:///v1/case000 HTTP/1.1",
    "absolute-javascript": b"GET javascript:/v1/case000 HTTP/1.1",
    "absolute-one-slash": b"GET http:/v1/case000 HTTP/1.1",
    "absolute-backslash": b"GET http:\\\\g/v1/case000 HTTP/1.1",
    "absolute-host-space": b"GET http://g%20x/v1/case000 HTTP/1.1",
    "double-slash": b"GET //v1/case000 HTTP/1.1", "double-slash-host": b"GET //evil/v1/case000 HTTP/1.1",
    "target-long": b"GET /v1/case000" + b"x" * 20_000 + b" HTTP/1.1",
    "target-very-long": b"GET /v1/case000" + b"x" * 100_000 + b" HTTP/1.1",
    "empty-target": b"GET  HTTP/1.1", "method-only": b"GET",
    "blank-before": b"\r\n\r\nGET /v1/case000 HTTP/1.1", "blank-lf-before": b"\n\nGET /v1/case000 HTTP/1.1",
    "blank-cr-before": b"\r\rGET /v1/case000 HTTP/1.1",
    "blank-many-before": b"\r\n" * 5000 + b"GET /v1/case000 HTTP/1.1",
    "junk-before": b"junk\r\nGET /v1/case000 HTTP/1.1", "nul-before": b"\x00GET /v1/case000 HTTP/1.1",
    "bom-before": b"\xef\xbb\xbfGET /v1/case000 HTTP/1.1",
}  # fmt: skip

WHOLE = {
    "all-lf": b"GET /v1/case000 HTTP/1.1\nHost: g\n\n", "all-cr": b"GET /v1/case000 HTTP/1.1\rHost: g\r\r",
    "lf-cr": b"GET /v1/case000 HTTP/1.1\n\rHost: g\n\r\n\r",
    "first-line-lf": b"GET /v1/case000 HTTP/1.1\nHost: g\r\n\r\n",
    "end-lf": b"GET /v1/case000 HTTP/1.1\r\nHost: g\r\n\n",
    "end-lf-lf": b"GET /v1/case000 HTTP/1.1\r\nHost: g\n\n",
    "end-cr-lf-lf": GET + b"A: b\r\n\nX: y\r\n\r\n",
    "end-cr-only": b"GET /v1/case000 HTTP/1.1\r\nHost: g\r\n\r" + b"x",
    "end-cr-cr-lf": GET[:-2] + b"\r\r\n\r\n", "http-1.0": b"GET /v1/case000 HTTP/1.0\r\n\r\n",
    "http-1.0-keep-alive": b"GET /v1/case000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT,
    "http-1.0-chunked": b"POST /v1/case000 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "http-1.0-chunked-keep-alive":
    b"POST /v1/case000 HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    + BODY + NEXT,
    "http-1.0-chunked-length": b"POST /v1/case000 HTTP/1.0\r\nConnection: keep-alive\r\n"
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "http-1.0-two-hosts": b"GET /v1/case000 HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "http-1.0-expect": b"POST /v1/case000 HTTP/1.0\r\n"
    b"Host: g\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "http-1.0-length": b"POST /v1/case000 HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "http-1.0-two": b"GET /v1/case000 HTTP/1.0\r\n\r\n" + NEXT, "good-good": GET + b"\r\n" + NEXT,
    "good-bad": GET + b"\r\n" + NEXT.replace(b"Host: g", b"Host : g"),
    "bad-good": GET + b"A b: c\r\n\r\n" + NEXT, "good-blank-good": GET + b"\r\n\r\n\r\n" + NEXT,
    "good-junk": GET + b"\r\njunk\r\n\r\n", "get-with-body": GET + b"Content-Length: 2\r\n\r\n{}" + NEXT,
    "get-with-chunks": GET + b"Transfer-Encoding: chunked\r\n\r\n" + BODY + NEXT,
    "get-hides-next": GET + b"Content-Length: %d\r\n\r\n" % len(NEXT) + NEXT,
    "head-with-body": GET.replace(b"GET", b"HEAD") + b"Content-Length: 2\r\n\r\n{}",
    "delete-with-body": GET.replace(b"GET", b"DELETE") + b"Content-Length: 2\r\n\r\n{}" + NEXT,
    "options-with-body": GET.replace(b"GET", b"OPTIONS") + b"Content-Length: 2\r\n\r\n{}" + NEXT,
    "close-then-more": GET + b"Connection: close\r\n\r\n" + NEXT,
    "expect-with-body": POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}" + NEXT,
    "expect-chunked": CHUNKED + b"Expect: 100-continue\r\n\r\n" + BODY + NEXT,
    "upgrade-with-body": POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}" + NEXT,
    "upgrade-chunked": CHUNKED + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + BODY + NEXT,
    "upgrade-hides-next": POST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT,
    "websocket": GET
    + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n" + NEXT,
    "upgrade-length-chunked": POST + b"Connection: upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY + NEXT,
    "upgrade-fold": GET + b"Connection: upgrade\r\nA: b\r\n Upgrade: h2c\r\n\r\n",
    "upgrade-folded": GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n Content-Length: 5\r\n\r\n",
    "upgrade-bad-behind": GET + b"Connection: upgrade\r\nUpgrade: h2c\r\nA b: c\r\n\r\n",
    "h2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
    "proxy-line": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + GET + b"\r\n", "only-blank": b"\r\n" * 20,
    "nothing-but-nul": b"\x00" * 100, "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip

FIRST_HEADERS = {"fold": b" A: b", "tab": b"\tA: b", "no-colon": b"evil", "empty-name": b": a"}


def _families() -> Iterator[tuple[str, dict[str, bytes]]]:
    line = b"GET /v1/case000 HTTP/1.1\r\n"
    behind = b"\r\nHost: g\r\nX-Case: /v1/case000\r\n\r\n" + NEXT
    length, coding = POST + b"Content-Length:", POST + b"Transfer-Encoding:"
    yield "length", {name: length + value + b"\r\n\r\n{}" + NEXT for name, value in LENGTHS.items()}
    yield "coding", {name: coding + value + b"\r\n\r\n" + BODY + NEXT for name, value in CODINGS.items()}
    yield "conflict", {name: POST + lines + NEXT for name, lines in CONFLICTS.items()}
    yield "chunk", {name: CHUNKED + b"\r\n" + data + NEXT for name, data in CHUNKS.items()}
    yield "line", {name: GET + data + b"\r\n\r\n" + NEXT for name, data in LINES.items()}
    yield "first header", {name: line + data + b"\r\nHost: g\r\n\r\n" for name, data in FIRST_HEADERS.items()}
    yield "host", {name: line + lines + b"\r\n" + NEXT for name, lines in HOSTS.items()}
    yield "first line", {name: data + behind for name, data in FIRST_LINES.items()}
    yield "whole", WHOLE


REQUESTS = {f"{family} {name}": data for family, inputs in _families() for name, data in inputs.items()}
"""By name; `/v1/case000` in each is where its number goes."""
