"""What the SDK for Python returned or raised, in the shape that the tests read."""

TOOL_RESULT = "21 degrees and sunny"


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def tool_of(message):
    (use,) = [block for block in message.content if block.type == "tool_use"]
    return {"id": use.id, "name": use.name, "input": use.input}


def tool_answer(message):
    """The two messages that follow on a use of a tool, the first as the SDK returned it."""
    result = {"type": "tool_result", "tool_use_id": tool_of(message)["id"], "content": TOOL_RESULT}
    return [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]


def as_message(message):
    return {
        "text": text_of(message),
        "stop_reason": message.stop_reason,
        "usage": message.usage.to_dict(),
        "request_id": getattr(message, "_request_id", None),
    }


def as_error(error):
    body = error.body if isinstance(error.body, dict) else {}
    return {
        "error": type(error).__name__,
        "status": error.status_code,
        "type": body.get("error", {}).get("type"),
        "message": body.get("error", {}).get("message"),
        "shown": str(error),
        "request_id": error.request_id,
    }
