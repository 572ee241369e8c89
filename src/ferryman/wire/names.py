"""Header names with a meaning on both sides of the gateway, in lower case."""

from __future__ import annotations

from typing import Final

OWN_CREDENTIALS = frozenset({b"x-ferryman-key", b"x-litellm-api-key"})
"""Meant for us: they leave `Authorization` to the client's own credential, and never go upstream."""

UPSTREAM_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
"""Where Anthropic looks for a credential."""

VERSION = b"anthropic-version"

BETA = b"anthropic-beta"
"""Names what a request wants that is not for everybody yet, with commas between."""

DEFAULT_VERSION = b"2023-06-01"
"""Added when a client names no version: LiteLLM's documentation has such requests."""

SESSION = b"x-claude-code-session-id"
"""Sent by Claude Code with each request."""

AGENT = b"x-claude-code-agent-id"
PARENT_AGENT = b"x-claude-code-parent-agent-id"
"""Sent by Claude Code where it knows them."""

REQUEST_CLASS = b"x-claude-code-request-class"
AGENT_TYPE = b"x-claude-code-agent-type"
"""Sent by Claude Code with `CLAUDE_CODE_GATEWAY_HINT_HEADERS=1`."""

TRACEPARENT = b"traceparent"
"""Which trace a request is part of (https://www.w3.org/TR/trace-context/#traceparent-header)."""

HINTS = frozenset({SESSION, AGENT, PARENT_AGENT, REQUEST_CLASS, AGENT_TYPE})
"""What Claude Code says of a request, to Anthropic as well."""

END_USERS = (
    b"x-ferryman-customer-id",
    b"x-ferryman-end-user-id",
    b"x-litellm-customer-id",
    b"x-litellm-end-user-id",
)
"""Whom the caller acts for; the first one counts. LiteLLM has both words for it, and this order."""

TAGS = (b"x-ferryman-tags", b"x-litellm-tags")
"""What the cost is to be counted under, separated by commas."""

SPEND_LOGS_METADATA = (b"x-ferryman-spend-logs-metadata", b"x-litellm-spend-logs-metadata")
"""The caller's notes for the record, a JSON object; the first one counts."""

CHARGES = frozenset({*END_USERS, *TAGS, *SPEND_LOGS_METADATA})
"""Meant for us: they never go upstream."""

FORWARDED_FOR = b"x-forwarded-for"
"""Where each proxy notes whom it was called by."""

FORWARDED_HOST = b"x-forwarded-host"
FORWARDED_PROTO = b"x-forwarded-proto"
"""How a client has called the proxy in front of us."""

FORWARDED = frozenset({FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, b"x-real-ip", b"forwarded"})
"""What a proxy in front of us tells us about the client and its connection."""

CLIENT_ADDRESS = b"x-ferryman-client-address"
"""What a worker tells the control plane of the client; what a client says in it goes nowhere."""

USER_PROFILE: Final = b"anthropic-user-profile-id"
"""Refers to a user profile as a body does (anthropic 2.12.0, resources/messages/messages.py)."""

WORKSPACE: Final = b"anthropic-workspace-id"
"""In which workspace of the account a call is made, where a credential is for several (the same file)."""

REQUEST_ID: Final = b"request-id"
"""Anthropic's id of a request, in its answer."""

CODING: Final = b"content-encoding"
