"""OpenAI's client of a gateway."""

from __future__ import annotations

from typing import Any

import openai

from tests.conftest import Bench
from tests.support.gateway import Gateway

CHAT = "/v1/chat/completions"
MODEL = "claude-opus-5-5"
MESSAGES: Any = [{"role": "user", "content": "Carry me across, é 😀"}]


def client_of(line: Bench, gateway: Gateway, key: str = "any-key") -> openai.OpenAI:
    """A client that asks once, until the test ends."""
    return line.enter(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0))
