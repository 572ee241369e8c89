"""`POST /spend/calculate`: what a request would cost, or an answer did, at the prices in force."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.clock import Clock, SystemClock
from ferryman.control.asking import Asking
from ferryman.control.bodies import body_of
from ferryman.control.spend_row import cost_fields, dollars_of
from ferryman.errors import InvalidRequest
from ferryman.model import Cost, Usage
from ferryman.pricing.catalog import Catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.estimate import BYTES_PER_TOKEN
from ferryman.pricing.terms import Terms
from ferryman.wire.refusal import REFUSAL, declined_in, refusal_in

MAX_BODY_BYTES = 1 << 20
"""As much as a worker passes on."""


T = TypeVar("T")


class Cached(msgspec.Struct):
    """OpenAI's `prompt_tokens_details`."""

    cached_tokens: int | None = None


class AnyUsage(msgspec.Struct):
    """What tells OpenAI's usage from Anthropic's."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None


class Answered(msgspec.Struct):
    """What is looked at in a `completion_response`."""

    usage: msgspec.Raw
    model: str | None = None
    stop_reason: str | None = None


class Question(msgspec.Struct):
    """The body. It has `messages`, or `completion_response`, and not both.

    Attributes:
        model: needed beside `messages`; else the answer's own counts.
    """

    model: str | None = None
    messages: list[msgspec.Raw] | None = None
    system: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    completion_response: msgspec.Raw = msgspec.Raw()


class Calculator:
    """Prices what it is given."""

    def __init__(self, asking: Asking, catalog: Callable[[], Catalog], clock: Clock | None = None) -> None:
        """Price by `catalog`, in the threads of `asking`."""
        self._asking = asking
        self._catalog = catalog
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        return "<Calculator>"

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [Route("/spend/calculate", self._calculate, methods=["POST"])]

    async def _calculate(self, request: Request) -> Response:
        question = await body_of(request, Question, MAX_BODY_BYTES)
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        return await self._asking.answered(lambda: msgspec.json.encode(answer(question, at, self._catalog())))


def answer(question: Question, at: datetime, catalog: Catalog) -> dict[str, Any]:
    """The cost in LiteLLM's shape, and exactly.

    Raises:
        InvalidRequest: it is not clear what is to be priced.
    """
    cost = cost_in_question(question, at, catalog)
    return {"cost": dollars_of(cost.nanousd), **cost_fields(cost)}


def cost_in_question(question: Question, at: datetime, catalog: Catalog) -> Cost:
    """What is asked for.

    Of messages only the prompt is known, and only roughly: a token for each `BYTES_PER_TOKEN` bytes of the
    JSON of messages, system and tools. The output is not in it.

    Raises:
        InvalidRequest: it is not clear what is to be priced.
    """
    response = bytes(question.completion_response)
    if (question.messages is None) == (not response):
        raise InvalidRequest("wanted either `messages` (with `model`) or `completion_response`.")
    if not response:
        if not question.model:
            raise InvalidRequest("`model` is missing; without it `messages` have no price.")
        sent = [*(question.messages or []), question.system, question.tools]
        tokens = -(-sum(len(bytes(one)) for one in sent) // BYTES_PER_TOKEN)
        return cost_of(Usage(input_tokens=tokens), question.model, Terms(at, estimated=True), catalog)
    answered = _decoded(response, Answered, "completion_response")
    model = answered.model or question.model
    if not model:
        raise InvalidRequest("`completion_response` has no `model`; send one beside it.")
    refusal = refusal_in(response) if answered.stop_reason == REFUSAL else None
    terms = Terms(at, refusal=refusal, declined=declined_in(response))
    return cost_of(usage_of(bytes(answered.usage)), model, terms, catalog)


def usage_of(data: bytes) -> Usage:
    """Anthropic's usage, or OpenAI's as Anthropic's: its prompt has what was read from the cache in it.

    Raises:
        InvalidRequest: it is neither.
    """
    theirs = _decoded(data, AnyUsage, "usage")
    if theirs.prompt_tokens is None:
        return _decoded(data, Usage, "usage")
    cached = (theirs.prompt_tokens_details.cached_tokens or 0) if theirs.prompt_tokens_details else 0
    return Usage(
        input_tokens=max(theirs.prompt_tokens - cached, 0),
        output_tokens=theirs.completion_tokens,
        cache_read_input_tokens=cached or None,
    )


def _decoded(data: bytes, shape: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"`{name}` cannot be used: {error}.") from error
