"""What an upstream wants of a body: each edit changes the bytes of its own value, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.relay.manners import PLAIN, Manners, splices_for
from ferryman.relay.route import relayed
from ferryman.relay.values import Route
from ferryman.wire.request import read_call
from ferryman.wire.splice import Splice, named, spliced
from tests.test_edit import OTHERS, SPACES, VALUES, joined, member, spelled

ARGO = Manners(user_id="overwrite", inject_user_field=True)
MESSAGES = relayed(b"/v1/messages", b"", b"POST")
COUNT = relayed(b"/v1/messages/count_tokens", b"", b"POST")


def edits_of(
    body: bytes, manners: Manners = ARGO, route: Route = MESSAGES, identity: str | None = "alice"
) -> list[Splice]:
    return splices_for(body, read_call(body), route, manners, identity)


def edited(body: bytes, manners: Manners = ARGO, **options: Any) -> bytes:
    return spliced(body, edits_of(body, manners, **options))


def pairs(text: bytes) -> Any:
    """With the order and the spelling of numbers, and keys that stand twice."""
    return json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)


NAMED = ("metadata", "user", "litellm_metadata", "user_id")


ESCAPES = st.frozensets(st.integers(0, 15), max_size=3)


def any_of(name: str, values: Any) -> Any:
    return member(st.builds(spelled, st.just(name), ESCAPES), values)


USER_IDS = st.sampled_from(['"bob"', "null", '"alice"', '"\\u0061lice"'])
METADATA = joined(
    "{",
    st.tuples(
        st.lists(any_of("other", VALUES), max_size=1),
        st.lists(
            any_of("user_id", st.sampled_from(['"bob"', "null", '"alice"', '"\\u0061lice"'])), max_size=1
        ),
    ).map(lambda found: [*found[0], *found[1]]),
    "}",
)


@st.composite
def bodies(draw: Any) -> tuple[bytes, bool]:
    ours = draw(st.booleans())
    known = [
        *draw(st.lists(any_of("metadata", METADATA | st.just("null")), max_size=1)),
        *draw(st.lists(any_of("user", VALUES), max_size=1)),
        *([draw(any_of("litellm_metadata", st.sampled_from(["{}", '{"tags":["a"]}'])))] if ours else []),
    ]
    members = draw(st.permutations([*known, *draw(OTHERS_APART)]))
    text = draw(joined("{", st.just(members), "}"))
    return (draw(SPACES) + text + draw(SPACES)).encode(), ours


OTHERS_APART = OTHERS.map(
    lambda found: [one for one in found if not any(name in spoken(one) for name in NAMED)]
)


def spoken(text: str) -> str:
    """The key of a member, without escapes."""
    return str(next(iter(json.loads("{" + text + "}"))))


@given(bodies(), st.sampled_from(["keep", "fill", "overwrite"]), st.booleans())
def test_only_the_bytes_of_edited_values_change(
    drawn: tuple[bytes, bool], user_id: str, inject: bool
) -> None:
    body, ours = drawn
    manners = Manners(user_id=user_id, inject_user_field=inject)
    splices = edits_of(body, manners)
    result = spliced(body, splices)
    expected_bytes, at = b"", 0
    for splice in sorted(splices, key=lambda one: (one.start, one.end)):
        expected_bytes += body[at : splice.start] + splice.text
        at = splice.end
    assert result == expected_bytes + body[at:]
    before, after = json.loads(body), json.loads(result)
    assert ("litellm_metadata" in after) is False
    old = before.get("metadata")
    expected = (old or {}).get("user_id")
    if user_id == "overwrite" or (user_id == "fill" and expected is None):
        expected = "alice"
    if user_id != "keep":
        assert after["metadata"]["user_id"] == expected
        assert {**(old or {}), "user_id": expected} == after["metadata"]
    else:
        assert ("metadata" in after, after.get("metadata")) == ("metadata" in before, old)
    assert after.get("user") == ("alice" if inject else before.get("user"))
    apart = {"metadata", "user", "litellm_metadata"}
    assert [pair for pair in pairs(result) if pair[0] not in apart] == [
        pair for pair in pairs(body) if pair[0] not in apart
    ]
    assert edited(result, manners) == result
    assert named(splices)[:1] == (["litellm_metadata"] if ours else named(splices)[:1])


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"{}", b'{"metadata":{"user_id":"alice"},"user":"alice"}'),
        (b' { "model":1.0 }', b' {"metadata":{"user_id":"alice"},"user":"alice", "model":1.0 }'),
        (
            b'{"metadata" : {"user_id": "x" , "a":1} ,"user":"y"}',
            b'{"metadata" : {"user_id": "alice" , "a":1} ,"user":"alice"}',
        ),
        (b'{"user":"alice","metadata":{ }}', b'{"user":"alice","metadata":{"user_id":"alice" }}'),
        (b'{"user":["a"],"metadata":null}', b'{"user":"alice","metadata":{"user_id":"alice"}}'),
        (b'{"litellm_metadata":{}}', b'{"metadata":{"user_id":"alice"},"user":"alice"}'),
        (b'{"litellm_metadata":{},"a":1}', b'{"metadata":{"user_id":"alice"},"user":"alice","a":1}'),
        (
            b'{"\\u0075ser":1,"m\\u0065tadata":{"user\\u005fid":2}}',
            b'{"\\u0075ser":"alice","m\\u0065tadata":{"user\\u005fid":"alice"}}',
        ),
    ],
)
def test_the_caller_is_named(body: bytes, result: bytes) -> None:
    assert edited(body) == result
    assert edited(result) == result


@pytest.mark.parametrize(
    ("told", "result"),
    [(b'"session"', b'"session"'), (b'""', b'"alice"'), (b"null", b'"alice"')],
)
def test_fill_leaves_what_the_client_says(told: bytes, result: bytes) -> None:
    body = b'{"metadata":{"user_id":%b}}'
    assert edited(body % told, Manners(user_id="fill")) == body % result


@pytest.mark.parametrize(
    "body",
    [
        b'{"user":"a","user":"alice"}',
        b'{"user":"a","us\\u0065r":"alice"}',
        b'{"metadata":{"user_id":"a","user_id":"alice"}}',
        b'{"metadata":{},"metadata":{}}',
    ],
)
def test_a_field_that_is_edited_and_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="stands more than once"):
        edits_of(body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xef\xbb\xbf{}", b'{"a":NaN}', b"{" * 9_999, b'{"a":1} x', b"\xff"]
)
def test_a_body_that_cannot_be_read_does_not_go_to_who_wants_the_caller_named(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read as a JSON object"):
        edits_of(body)
    assert edits_of(body, PLAIN) == []


@pytest.mark.parametrize("value", [b'"x"', b"[]", b"1", b"false"])
def test_metadata_that_cannot_name_the_caller_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="`metadata` has to be a JSON object"):
        edits_of(b'{"metadata":%b}' % value)


def test_who_counts_tokens_is_named_nowhere_since_the_request_has_no_such_field() -> None:
    assert edits_of(b'{"model":"m"}', route=COUNT) == []


def test_edits_that_were_decided_before_come_first() -> None:
    body = b'{"model":"argo:opus","litellm_metadata":{}}'
    model = Splice(9, 20, b'"claude-opus"', "model")
    splices = splices_for(body, read_call(body), MESSAGES, ARGO, "alice", [model])
    assert named(splices) == ["model", "litellm_metadata", "identity"]
    assert spliced(body, splices) == b'{"metadata":{"user_id":"alice"},"user":"alice","model":"claude-opus"}'


def test_a_long_body_is_edited_in_one_copy() -> None:
    body = b'{"messages":["%b"],"user":"x","metadata":{"deep":%b}}' % (
        b"x" * 3_000_000,
        b"[" * 500 + b"]" * 500,
    )
    result = edited(body)
    assert result == body.replace(b'"user":"x"', b'"user":"alice"').replace(
        b'"metadata":{', b'"metadata":{"user_id":"alice",'
    )
