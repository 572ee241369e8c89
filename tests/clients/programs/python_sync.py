"""The SDK for Python, synchronous: for each line of JSON on standard input a line of what came of it.

A line has `action`, `client` (arguments of the constructor) and `body` (arguments of the call).
"""

import json
import sys

import anthropic
from shown import as_error, as_message, text_of, tool_answer, tool_of


def create(client, body):
    return as_message(client.messages.create(**body))


def stream(client, body):
    with client.messages.stream(**body) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == text_of(final)
    return {**as_message(final), "request_id": events.response.headers["request-id"]}


def stream_raw(client, body):
    with client.messages.create(**body, stream=True) as events:
        return {"types": [event.type for event in events]}


def tool(client, body):
    first = client.messages.create(**body)
    messages = [*body["messages"], *tool_answer(first)]
    second = client.messages.create(**{**body, "messages": messages})
    return {"tool": tool_of(first), "first": as_message(first), **as_message(second)}


def count_tokens(client, body):
    return {"input_tokens": client.messages.count_tokens(**body).input_tokens}


def models(client, body):
    return {"ids": [model.id for model in client.models.list(**body)]}


ACTIONS = {one.__name__: one for one in (create, stream, stream_raw, tool, count_tokens, models)}


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        with anthropic.Anthropic(**asked["client"]) as client:
            try:
                answer = ACTIONS[asked["action"]](client, asked["body"])
            except anthropic.APIStatusError as error:
                answer = as_error(error)
        print(json.dumps(answer), flush=True)


main()
