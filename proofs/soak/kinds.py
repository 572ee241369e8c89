"""What clients do in the mixed load. Each raises `Failed` where the gateway does not do its part."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import zlib
from collections.abc import Awaitable, Callable, Iterator

from proofs.soak.client import Answer, Client
from proofs.soak.process import Failed

MAX_BODY_BYTES = 20_000_000
BLOCK = random.Random(1).randbytes(65_536)  # only to have different bytes
GONE = (ConnectionError, asyncio.IncompleteReadError)
MALFORMED = [
    b"rubbish\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


def expect(answer: Answer, status: int, tail: bytes = b"") -> None:
    """Raise unless `answer` is the one that had to come."""
    if answer.status != status or tail not in answer.tail:
        raise Failed(f"{answer.status} with …{answer.tail[-300:]!r} in place of {status}")


def size_of(dice: random.Random) -> int:
    """A size of a body: mostly small, up to 20 MB."""
    return int(MAX_BODY_BYTES ** dice.random()) if dice.random() < 0.9 else dice.randrange(MAX_BODY_BYTES)


def blocks(size: int) -> Iterator[bytes]:
    """`size` bytes in pieces."""
    while size:
        yield BLOCK[:size]
        size -= min(size, len(BLOCK))


async def calls(client: Client, dice: random.Random) -> None:
    """Some calls on one connection; the upstream closes now and then, or sends an answer too many."""
    for _ in range(dice.randrange(1, 15)):
        do = dice.choice(["json", "json", "json", "close", "twice"])
        expect(await client.ask(client.post(do, b'{"model":"m","max_tokens":9}')), 200, b"output_tokens")


async def stream(client: Client, dice: random.Random) -> None:
    """A stream to its end."""
    answer = await client.ask(client.post(f"sse {dice.randrange(200)}", b'{"model":"m","stream":true}'))
    expect(answer, 200, b"message_stop")


async def aborted_stream(client: Client, dice: random.Random) -> None:
    """A stream that its client leaves at some point."""
    await client.send(client.post("sse 400", b'{"model":"m","stream":true}'))
    await client.reader.readuntil(b"message_start")
    client.reached()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(dice.random() / 2):
            await client.reader.read(-1)
    if dice.random() < 0.5:
        client.reset()


async def aborted_call(client: Client, dice: random.Random) -> None:
    """A call whose client does not wait; it is drained."""
    await client.send(client.post("slow", b'{"model":"m"}'))
    await asyncio.sleep(dice.random() / 4)
    if dice.random() < 0.5:
        client.reset()  # it may not have been read: a reset takes with it what waits in the kernel
    else:
        client.reached()


async def upload(client: Client, dice: random.Random) -> None:
    """A file, by length or in chunks, that has to arrive as it was."""
    size, check = size_of(dice), 0
    chunked = dice.random() < 0.5
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    await client.send(client.head("sink", path="/v1/files", framing=framing))
    for block in blocks(size):
        check = zlib.crc32(block, check)
        await client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
    if chunked:
        await client.send(b"0\r\n\r\n")
    answer = await client.answer()
    expect(answer, 200)
    if json.loads(answer.tail) != {"bytes": size, "crc": check}:
        raise Failed(f"another body arrived: {answer.tail!r} in place of {size} bytes, {check}")


async def large_call(client: Client, dice: random.Random) -> None:
    """A message with images, which is read whole before it goes on."""
    body = b'{"model":"m","x":"' + b"y" * (size_of(dice) // 4) + b'"}'
    answer = await client.ask(client.post("sink", body))
    expect(answer, 200, b'"crc": %d}' % zlib.crc32(body))


async def aborted_upload(client: Client, dice: random.Random) -> None:
    """A file whose client leaves in the middle."""
    await client.send(client.head("sink", path="/v1/files", framing="content-length: 5000000"))
    with contextlib.suppress(*GONE):
        for block in blocks(dice.randrange(4_000_000)):
            await client.send(block)
    if dice.random() < 0.5:
        client.reset()


async def early_answer(client: Client, _: random.Random) -> None:
    """An upstream that answers before it has read the file, and closes."""
    await client.send(client.head("early", path="/v1/files", framing="content-length: 300000"))
    with contextlib.suppress(*GONE):
        for block in blocks(300_000):
            await client.send(block)
        answer = await client.answer()
        if answer.status not in {200, 502}:
            raise Failed(f"{answer.status} in place of the early answer")


async def download(client: Client, dice: random.Random) -> None:
    """A large answer, by length or in chunks."""
    size = size_of(dice)
    answer = await client.ask(client.post(f"{dice.choice(['length', 'chunks'])} {size}", path="/v1/files"))
    expect(answer, 200)
    if answer.size != size:
        raise Failed(f"{answer.size} bytes came in place of {size}")


async def stalled(client: Client, dice: random.Random) -> None:
    """A client that stops reading; it is cut, or it goes on in time."""
    await client.send(client.post("chunks 20000000", path="/v1/files"))
    await client.reader.readuntil(b"\r\n\r\n")
    client.reached()
    await asyncio.sleep(dice.choice([0.5, 6.0]))
    with contextlib.suppress(*GONE):
        while await client.reader.read(1 << 20):
            pass


async def trickle(client: Client, dice: random.Random) -> None:
    """Head and body come in small pieces, in time."""
    data = client.post("json", b'{"model":"' + b"m" * dice.randrange(300) + b'"}')
    size = dice.randrange(20, 120)
    await client.send_slowly((data[at : at + size] for at in range(0, len(data), size)), 0.05)
    expect(await client.answer(), 200)


async def too_slow(client: Client, dice: random.Random) -> None:
    """Head or body do not come in time."""
    data = client.post("json", b'{"model":"m"}')
    in_head = dice.random() < 0.5
    await client.send(data[:40] if in_head else data[:-5])
    expect(await client.answer(whole=not in_head), 408)


async def pipelined(client: Client, dice: random.Random) -> None:
    """Several requests in one write."""
    count = dice.randrange(2, 30)
    dos = [dice.choice(["json", "sse 3", "slow" if dice.random() < 0.1 else "json"]) for _ in range(count)]
    await client.send(b"".join(client.post(do, b'{"model":"m"}') for do in dos))
    for _ in range(count):
        expect(await client.answer(whole=False), 200)
    client.reached()


async def malformed(client: Client, dice: random.Random) -> None:
    """What is no request, behind one that is, or by itself."""
    if dice.random() < 0.5:
        expect(await client.ask(client.post("json")), 200)
    await client.send(dice.choice(MALFORMED) + client.post("json"))
    answer = await client.answer(whole=False)
    if answer.status not in {400, 431} or not answer.closes:
        raise Failed(f"{answer.status} in place of a refusal")


async def refused(client: Client, _: random.Random) -> None:
    """A path that is not served."""
    expect(await client.ask(client.post("json", path="/nowhere")), 404)


async def faults(client: Client, dice: random.Random) -> None:
    """An upstream that fails before it answers."""
    do, status = dice.choice([("reset", 502), ("garbage", 502), ("silent", 504)])
    answer = await client.ask(client.post(do, b'{"model":"m"}'))
    expect(answer, status)


async def broken_call(client: Client, _: random.Random) -> None:
    """An upstream that breaks off its answer: it must not look whole."""
    try:
        answer = await client.ask(client.post("part", b'{"model":"m"}'))
    except GONE:
        client.reached()
    else:
        expect(answer, 502)  # head and reset came in one read


async def broken_stream(client: Client, dice: random.Random) -> None:
    """An upstream that breaks off a stream, falls silent in it, or ends it with an error."""
    do = dice.choice(["break 20", "pause 3", "error 3"])
    await client.send(client.post(do, b'{"model":"m","stream":true}'))
    try:
        tail = await client.reader.readuntil(b"event: error\n")
    except GONE:
        tail = b""
    client.reached()
    if not tail and do != "break 20":  # a reset may overtake what was sent before it
        raise Failed(f"a stream that ended with `{do}` brought no error")


async def churn(client: Client, dice: random.Random) -> None:
    """A connection that brings nothing, or half a head."""
    if dice.random() < 0.5:
        await client.send(b"POST /v1/messages HT")
    if dice.random() < 0.5:
        client.reset()


Kind = Callable[[Client, random.Random], Awaitable[None]]

WEIGHTS: dict[Kind, int] = {
    calls: 20, stream: 12, aborted_stream: 10, aborted_call: 8, upload: 5, large_call: 4,
    aborted_upload: 3, early_answer: 2, download: 4, stalled: 2, trickle: 4, too_slow: 2, pipelined: 5,
    malformed: 6, refused: 3, faults: 4, broken_call: 3, broken_stream: 3, churn: 8,
}  # fmt: skip
