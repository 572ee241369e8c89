"""nginx and haproxy judge: what they refuse we refuse, and what all take means the same to all.

The differences that remain are written down, each with its reason, and asserted: one that goes away
fails as one that appears does.
"""

from __future__ import annotations

import pytest

from ferryman.settings import Settings
from tests.conftest import KEY
from tests.support.edge import Connection, Upstream
from tests.support.gateway import Gateway
from tests.support.hostile import REQUESTS
from tests.support.judges import (
    QUIET_SECONDS,
    Address,
    Outcome,
    answers_in,
    converse,
    judge,
    marked,
    seen_by,
)

Outcomes = dict[str, dict[str, Outcome]]

LAXER = {
    "length tab-before": "RFC 9110 allows a tab around a value, haproxy too; our own framing goes upstream",
    "length tab-behind": "the same",
    "coding tab-before": "the same",
    "chunk trailers-many": "haproxy's own limit; trailers are not kept here, and end with the time to read",
}
"""What a judge refuses and we do not."""

OTHERWISE = {
    "line connection-twice": "nginx looks at one `Connection` line, haproxy and we at all: `close` ends it",
    "first line absolute-no-path": "the path `/` is our own and not relayed",
}
"""What all take, and we take as another request."""

STRICTER = {
    "the order of sizes that no body has": ["length many-zeros"],
    "llhttp's strict mode: chunks": [
        "chunk space-behind", "chunk tab-behind", "chunk extension-bare", "chunk extension-space",
        "chunk extension-open-quote", "chunk extension-nul", "chunk extension-high", "chunk data-shorter",
        "chunk data-lf", "chunk size-lf", "chunk all-lf", "chunk last-lf", "chunk trailer-length",
        "chunk trailer-coding", "chunk trailer-fold", "chunk trailer-nul", "chunk trailer-lf",
    ],
    "llhttp's strict mode: control characters in values": [
        "line delete-in-value", "line control-in-value", "line escape-in-value", "line backspace-in-value",
        "line vertical-tab-in-value", "line form-feed-in-value",
    ],
    "a line ends with CRLF": [
        "line lf-in-value", "line lf-only-end", "whole all-lf", "whole first-line-lf", "whole end-lf",
        "whole end-lf-lf",
    ],
    "RFC 9110, section 10.1.1: 417 for what nobody knows": [
        "line expect-nothing", "line expect-odd", "line expect-list", "line expect-parameter",
        "line expect-number",
    ],
    "RFC 3986, section 3.2.2: not a host": [
        "host userinfo", "host password", "host query", "host fragment", "host backslash", "host bad-port",
        "host two-ports", "host minus-port", "host high", "host ipv6-open", "host quotes", "host angle",
    ],
    "RFC 9112, section 3: one space apart": ["first line two-spaces", "first line two-spaces-before-version"],
    "methods and versions that llhttp knows": [
        "first line method-unknown", "first line method-long", "first line http-1.2", "first line http-1.9",
    ],
    "two servers could read two paths": [
        "first line backslash-target", "first line dot-segments", "first line double-slash",
        "first line double-slash-host", "first line absolute-ftp",
    ],
}  # fmt: skip
"""What both judges take and we refuse, by the reason."""

UNSETTLED = {"chunk trailer-space"}
"""What haproxy takes or refuses as its reads happen to fall; we refuse it."""


def script(connection: Connection) -> None:
    """Answer each request alike, a HEAD without the body."""
    while True:
        body = b"" if connection.request().line.startswith(b"HEAD ") else b'{"ok":true}'
        connection.send(b"HTTP/1.1 200 OK\r\nX-Upstream: 1\r\nContent-Length: 11\r\n\r\n" + body)


def ferryman(upstream: Upstream) -> Gateway:
    options = Settings(
        port=0,
        upstream_url=upstream.url,
        anthropic_api_key=KEY,
        client_idle_seconds=QUIET_SECONDS,
        client_read_timeout_seconds=QUIET_SECONDS,
        first_byte_timeout_seconds=QUIET_SECONDS,
        stream_idle_timeout_seconds=QUIET_SECONDS,
    )
    return Gateway(options)


def outcomes_at(address: Address, upstream: Upstream) -> dict[str, Outcome]:
    inputs = marked(REQUESTS)
    heard = converse(address, inputs)
    seen = seen_by(upstream.requests)
    assert -1 not in seen, "a request that nobody made"
    return {
        name: Outcome(answers_in(heard[name], bodiless="head-with-body" in name), seen.get(number, []))
        for number, name in enumerate(inputs)
    }


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """What each of the three made of each input."""
    found: Outcomes = {}
    for name in ("nginx", "haproxy"):
        with Upstream(script) as upstream, judge(name, upstream) as address:
            found[name] = outcomes_at(address, upstream)
    with Upstream(script) as upstream, ferryman(upstream) as gateway:
        found["ferryman"] = outcomes_at(("127.0.0.1", gateway.port), upstream)
    return found


def test_there_are_hundreds_of_inputs() -> None:
    assert len(REQUESTS) > 400


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in LAXER])
def test_what_a_judge_refuses_is_refused(outcomes: Outcomes, name: str) -> None:
    ours = outcomes["ferryman"][name]
    for theirs in (outcomes["nginx"][name], outcomes["haproxy"][name]):
        if theirs.refused:
            assert ours.refused
            assert ours.seen == theirs.seen[: len(ours.seen)], "nothing more may reach the upstream"
            if ours.answers:
                assert ours.answers[-1].closes
                assert 400 <= ours.answers[-1].status < 500 or ours.answers[-1].status == 505


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in OTHERWISE])
def test_what_all_take_is_the_same_request_to_all(outcomes: Outcomes, name: str) -> None:
    nginx, haproxy, ours = (outcomes[who][name] for who in ("nginx", "haproxy", "ferryman"))
    if not (nginx.refused or haproxy.refused or ours.refused):
        assert ours.seen == nginx.seen == haproxy.seen
    assert all(answer.whole for answer in ours.answers)


@pytest.mark.parametrize("name", LAXER)
def test_known_laxity_is_still_there(outcomes: Outcomes, name: str) -> None:
    nginx, haproxy, ours = (outcomes[who][name] for who in ("nginx", "haproxy", "ferryman"))
    assert nginx.refused != haproxy.refused, "one judge takes it"
    assert ours.seen == (haproxy.seen if nginx.refused else nginx.seen)


@pytest.mark.parametrize("name", OTHERWISE)
def test_known_difference_is_still_there(outcomes: Outcomes, name: str) -> None:
    nginx, haproxy, ours = (outcomes[who][name] for who in ("nginx", "haproxy", "ferryman"))
    assert not any(outcome.refused for outcome in (nginx, haproxy, ours))
    assert ours.seen != nginx.seen


def test_nothing_else_is_refused_that_both_judges_take(outcomes: Outcomes) -> None:
    refused = {
        name
        for name, ours in outcomes["ferryman"].items()
        if ours.refused and not (outcomes["nginx"][name].refused or outcomes["haproxy"][name].refused)
    }
    assert refused - UNSETTLED == {name for names in STRICTER.values() for name in names}
