"""Performs a script: sends, waits, hangs up, and stops at once when the client goes."""

import asyncio

from ferryman.simulator.call import Call
from ferryman.simulator.intake import Receive, Send
from ferryman.simulator.script import Chunk, HangUp, Script, Wait


async def deliver(script: Script, call: Call, receive: Receive, send: Send) -> None:
    """Answer a call by its script, and record what became of the answer."""
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_perform(script, call, send), name="simulator-sender")
        watcher = group.create_task(_watch(sender, call, receive), name="simulator-watcher")
        sender.add_done_callback(lambda _: watcher.cancel())


async def _watch(sender: asyncio.Task[None], call: Call, receive: Receive) -> None:
    # The body was read to its end, so the next message can only be that the client has gone.
    await receive()
    call.recording.end(client_disconnected=True)
    sender.cancel()


async def _perform(script: Script, call: Call, send: Send) -> None:
    if script.slow_start_seconds:
        await asyncio.sleep(script.slow_start_seconds)
    if script.status is not None:
        headers = tuple(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in script.headers.items()
        )
        call.recording.head_sent(script.status, headers)
        await send({"type": "http.response.start", "status": script.status, "headers": list(headers)})
    for step in script.steps:
        match step:
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Chunk(data, events):
                if call.method != "HEAD":
                    # before it is sent, so that a client which has the bytes always finds them recorded
                    call.recording.body_sent(data, events)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                # send() returns without a pause while the socket takes everything, and then neither
                # other clients nor the watcher would have their turn until the end of the stream
                await asyncio.sleep(0)
            case HangUp(reset):
                await _hang_up(call, reset=reset)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    call.recording.end(finished=True)


async def _hang_up(call: Call, *, reset: bool) -> None:
    call.recording.end()
    call.wire.hang_up(reset)
    # Returning before the server has noticed would be reported there as a mistake of the app's.
    await asyncio.Event().wait()
