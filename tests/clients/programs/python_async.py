"""The SDK for Python, asynchronous: as `python_sync.py`."""

import asyncio
import json
import sys

import anthropic
from shown import as_error, as_message, text_of, tool_answer, tool_of


async def create(client, body):
    return as_message(await client.messages.create(**body))


async def stream(client, body):
    async with client.messages.stream(**body) as events:
        text = "".join([piece async for piece in events.text_stream])
        final = await events.get_final_message()
    assert text == text_of(final)
    return {**as_message(final), "request_id": events.response.headers["request-id"]}


async def stream_raw(client, body):
    async with await client.messages.create(**body, stream=True) as events:
        return {"types": [event.type async for event in events]}


async def tool(client, body):
    first = await client.messages.create(**body)
    messages = [*body["messages"], *tool_answer(first)]
    second = await client.messages.create(**{**body, "messages": messages})
    return {"tool": tool_of(first), "first": as_message(first), **as_message(second)}


async def count_tokens(client, body):
    return {"input_tokens": (await client.messages.count_tokens(**body)).input_tokens}


async def models(client, body):
    return {"ids": [model.id async for model in client.models.list(**body)]}


ACTIONS = {one.__name__: one for one in (create, stream, stream_raw, tool, count_tokens, models)}


async def answered(asked):
    async with anthropic.AsyncAnthropic(**asked["client"]) as client:
        try:
            return await ACTIONS[asked["action"]](client, asked["body"])
        except anthropic.APIStatusError as error:
            return as_error(error)


def main():
    for line in sys.stdin:
        print(json.dumps(asyncio.run(answered(json.loads(line)))), flush=True)


main()
