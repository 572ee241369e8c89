"""Bytes ⇄ HTTP/1.1, without policy.

`server` turns a client's bytes into requests and writes framed answers; `client` sends requests
upstream and turns its bytes into responses; `pool` keeps upstream connections. Parsing is llhttp's
(httptools) in strict mode, with the checks that llhttp leaves to its users made here. Framing is
always generated anew, never copied. What to do with a request is decided in `ferryman.relay`.
"""
