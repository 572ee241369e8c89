"""The data plane: what happens between a client's request and the record of it.

Read `exchange` first: it shows one request from top to bottom. Each step has a module of its own,
which decides and does no I/O, and steps don't import each other:

    route         which path is relayed, which is ours, which is refused
    authenticate  whose request this is
    attribute     whom it is charged to
    prepare       the request as the upstream gets it
    forward       one more try where nothing can be billed twice
    meter         usage out of the bytes going by
    respond       the head of the answer, and answers of our own

To read the body is `ferryman.wire.request`; to settle is the end of `exchange`.

`line` holds what the exchanges of a worker share, and `worker` runs it on sockets.
"""
