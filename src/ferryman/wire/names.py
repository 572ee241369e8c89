"""Header names with a meaning on both sides of the gateway, in lower case."""

from __future__ import annotations

OWN_CREDENTIALS = frozenset({b"x-ferryman-key", b"x-litellm-api-key"})
"""Meant for us: they leave `Authorization` to the client's own credential, and never go upstream."""

UPSTREAM_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
"""Where Anthropic looks for a credential."""

VERSION = b"anthropic-version"

DEFAULT_VERSION = b"2023-06-01"
"""Added when a client names no version: LiteLLM's documentation has such requests."""

SESSION = b"x-claude-code-session-id"
"""Sent by Claude Code with each request."""

FORWARDED_FOR = b"x-forwarded-for"
"""Where each proxy notes whom it was called by."""

FORWARDED = frozenset({FORWARDED_FOR, b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"forwarded"})
"""What a proxy in front of us tells us about the client and its connection."""

REQUEST_ID = b"request-id"
"""Anthropic's id of a request, in its answer."""

CODING = b"content-encoding"
