"""A deterministic Anthropic API for development, tests and the demo.

`app.create_app` makes the Starlette application, `server.run` serves it for the command line and
`server.Server` for tests. It answers from the request alone: the same request bytes give the same
answer bytes. Only batches and files are remembered, and change by a clock that tests move. It is what
the rest of the package is tested against, so it imports none of it.

The pure half reads from top to bottom as a request does: `control` (faults on demand), `validate`
(the body), `tokens` and `usage` (counting), `answer` (the message), `events` (the same as SSE) and
`script` (what will be sent and when); `batches`, `files` and `multipart` do the same for what outlives
a request. The other half does I/O: `intake`, `front` and the endpoints on it (`app`, `batch_api`,
`file_api`, `own_api`), `delivery`, `connection`, `recorder`, `clock` and `server`.
"""
