"""What becomes of a copied body: read though it was cut, put together of a stream, and redacted."""

from __future__ import annotations

import base64
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.control.kept import bodies_of, opened_of
from ferryman.control.redact import Redactor
from ferryman.errors import SettingsError
from ferryman.process.messages import BodyCopy, KeptBodies
from ferryman.settings import Settings
from ferryman.settings_bodies import body_problems, redacted_fields
from ferryman.settings_load import load
from ferryman.wire.assembled import message_in
from ferryman.wire.prefix import CUT, value_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def told(value: object, mode: str = "redacted", **more: Any) -> Any:
    """What is kept of a request with this body."""
    data = json.dumps(value).encode()
    copy = KeptBodies("id", 1.0, mode, BodyCopy(data, len(data)))
    [body] = bodies_of(copy, Redactor(**more))
    return json.loads(body.text)


def texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for one in value.values() for text in texts_in(one))]
    return [text for one in value for text in texts_in(one)] if isinstance(value, list) else []


# ── cut ──


@given(value=JSON, share=st.floats(0, 1), ascii_only=st.booleans())
def test_any_beginning_of_a_container_can_be_read_and_tells_nothing_new(
    value: object, share: float, ascii_only: bool
) -> None:
    data = json.dumps({"a": value}, ensure_ascii=ascii_only).encode("utf-8", "replace")
    cut = data[: max(1, int(share * len(data)))]
    found = value_in(cut, cut=True)
    known = texts_in(json.loads(data))
    for text in texts_in(found):
        whole = text.removesuffix(CUT).rstrip("\ufffd")
        assert any(one.startswith(whole) for one in known)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"a":"bc', {"a": "bc" + CUT}),
        ('{"a":"b\\', {"a": "b" + CUT}),
        ('{"a":"b\\u00', {"a": "b" + CUT}),
        ('{"a":"b\\\\', {"a": "b\\" + CUT}),
        ('{"a":"\\ud83d', {"a": "\ufffd" + CUT}),
        ('{"a":"\\ud83d\\ude', {"a": "\ufffd" + CUT}),
        ('{"a":1,"bc', {"a": 1}),
        ('{"a":1,"bc":', {"a": 1}),
        ('{"a":12', {}),
        ('{"a":[1,2', {"a": [1]}),
        ('{"a":[tru', {"a": []}),
        ('{"a":{"b":"c"},', {"a": {"b": "c"}}),
        ('[{"a":"}"', [{"a": "}"}]),
    ],
)
def test_what_was_whole_is_kept_and_a_text_that_was_cut_says_so(data: str, value: object) -> None:
    assert value_in(data.encode(), cut=True) == value


def test_halves_of_characters_are_replaced_and_whole_ones_stay() -> None:
    data = rb'["\ud83d", "\ud83d\ude00", "\ude00", "\u00e9 \ud83dx"]'
    assert value_in(data, cut=False) == ["\ufffd", "\U0001f600", "\ufffd", "\u00e9 \ufffdx"]


@pytest.mark.parametrize("data", [b"", b"<html>", b"}{", b'{"a" 1}', b"[" * 100_000])
@pytest.mark.parametrize("cut", [True, False])
def test_what_is_no_json_is_none_whether_it_was_cut_or_not(data: bytes, cut: bool) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        value_in(data, cut=cut)


# ── streams ──


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events
    )


def delta(index: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": members}


def block(index: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": members}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


START = {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": {"input_tokens": 3}}}
EVENTS = (
    START,
    block(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="let me "),
    delta(0, type="thinking_delta", thinking="see"),
    delta(0, type="signature_delta", signature="c2ln"),
    stop(0),
    {"type": "ping"},
    block(1, type="text", text=""),
    delta(1, type="text_delta", text="It is "),
    delta(1, type="text_delta", text="18 °C."),
    delta(1, type="citations_delta", citation={"cited_text": "18"}),
    stop(1),
    block(2, type="tool_use", id="toolu_1", name="weather", input={}),
    delta(2, type="input_json_delta", partial_json='{"city": "Par'),
    delta(2, type="input_json_delta", partial_json='is", "days": 3}'),
    stop(2),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


def test_stream_becomes_the_message_that_it_has_told() -> None:
    message, over = message_in(stream(*EVENTS))
    assert over
    assert message == {
        "id": "msg_1",
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 9},
        "content": [
            {"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
            {"type": "text", "text": "It is 18 °C.", "citations": [{"cited_text": "18"}]},
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "weather",
                "input": {"city": "Paris", "days": 3},
            },
        ],
    }


@pytest.mark.parametrize("events", range(len(EVENTS)))
def test_stream_that_was_cut_is_told_as_far_as_it_goes(events: int) -> None:
    data = stream(*EVENTS)
    message, over = message_in(stream(*EVENTS[:events]) + b"event: content_block_delta\nda")
    assert not over
    opened = opened_of(BodyCopy(stream(*EVENTS[:events]), len(data), "text/event-stream; charset=utf-8"))
    assert opened.truncated
    assert opened.value == message


def test_input_of_a_tool_that_was_cut_is_told_as_far_as_it_goes() -> None:
    message, _ = message_in(stream(*EVENTS[:14]))
    assert message["content"][2]["input"] == {"city": "Par" + CUT}


def test_secret_in_an_input_that_max_tokens_has_cut_is_redacted() -> None:
    part = '{"user":"bob","password":"hunter2","x":"a'
    cut: list[dict[str, Any]] = [
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {
                "type": "input_json_delta",
                "partial_json": part,
            },
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    message, over = message_in(stream(*cut))
    assert over
    assert message["content"][0]["input"] == {"user": "bob", "password": "hunter2", "x": "a" + CUT}
    assert "hunter2" not in str(Redactor().redacted(message))


def test_error_of_a_stream_is_told() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    message, over = message_in(stream(START, {"type": "error", "error": error}))
    assert (message["error"], over) == (error, False)


@pytest.mark.parametrize(
    "data",
    [
        b"data: [1]\n\n",
        b"data: {\n\n",
        b'data: {"type":"content_block_delta","index":9,"delta":{"text":"x"}}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":[]}\n\n',
        b'data: {"type":"message_delta","delta":7,"usage":"x"}\n\n',
        b'data: {"type":"message_start","message":{"usage":3}}\n\ndata: {"type":"message_delta"}\n\n',
    ],
)
def test_stream_of_another_shape_is_no_failure(data: bytes) -> None:
    message, over = message_in(data)
    assert isinstance(message["content"], list)
    assert not over


# ── opened ──


def test_compressed_answer_is_decoded_whole_or_cut() -> None:
    text = json.dumps({"a": "word " * 1000}).encode()
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(text) + packer.flush()
    assert opened_of(BodyCopy(data, len(data), "application/json", "gzip")).value == json.loads(text)
    opened = opened_of(BodyCopy(data[:-10], len(data), "application/json", "gzip"))
    assert opened.truncated
    assert opened_of(BodyCopy(b"x", 1, "application/json", "gzip")).value is None
    assert opened_of(BodyCopy(data, len(data), "application/json", "br")).value is None


@pytest.mark.parametrize(("mode", "text"), [("redacted", "[no JSON, 15 bytes]"), ("full", "<html>502</html")])
def test_answer_that_is_no_json_is_kept_in_full_only(mode: str, text: str) -> None:
    nothing = BodyCopy(b"{}", 2)
    copy = KeptBodies("id", 1.0, mode, nothing, BodyCopy(b"<html>502</html", 15, "text/html"))
    _, response = bodies_of(copy, Redactor())
    assert json.loads(response.text) == text


def test_what_is_nested_too_deeply_is_not_kept() -> None:
    data = b"[" * 600 + b"]" * 600
    for mode in ("redacted", "full"):
        [body] = bodies_of(KeptBodies("id", 1.0, mode, BodyCopy(data, len(data))), Redactor())
        assert body.text == '"[no JSON, 1200 bytes]"' or json.loads(body.text)


# ── redacted ──

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nx/y+z==\n-----END RSA PRIVATE KEY-----"
SECRETS = (
    "sk-OY_ia45fwoVWXuwU1EMx4Igz",
    "sk-ant-api03-aaaaaaaaaaaa_bbbbb-CCCCC",
    "sk-proj-abcdefghijklmnop0123",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-123456789012-abcdefghijkl",
    JWT,
    PRIVATE,
    PRIVATE[:-30],
    "ann.lee+x@mail.example.org",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "a ({}), b", 'x="{}"', "https://a/b?key={}&c=d", "\n{}\n"])
def test_secret_is_left_out_wherever_it_stands(secret: str, around: str) -> None:
    text = around.format(secret)
    for value in (text, [text], {"a": {"b": text}}, {text: 1}, {"messages": [{"content": text}]}):
        assert secret not in json.dumps(told(value))
        assert secret not in str(told(value))


def test_words_around_a_secret_stay() -> None:
    found = told(f"My key is {SECRETS[0]}, mail {SECRETS[-1]}; authorization: Basic dXNlcjpwYXNz ok")
    assert found == "My key is [key], mail [e-mail address]; [credential] ok"
    assert told("curl -H 'Authorization: Bearer abcdef0123456789xyz' there") == "curl -H '[credential]' there"
    assert told("aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00") == "aws_[AWS key]"


@pytest.mark.parametrize(
    "text",
    [
        "A bearer of good news, and bearer responsibilities in 2026.",
        "risk-management-department-of-europe and sk-learn are words",
        "basic understanding of tokens",
        "/a/long/path/to/a/file.py:12 and a@b and 2 @ 3",
        "Grüße, 世界 🚢",
    ],
)
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert told(text) == text


def test_images_and_documents_are_told_by_their_size() -> None:
    data = base64.b64encode(bytes(range(256)) * 12).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    short = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="}
    found = told({"content": [{"type": "image", "source": source}, {"type": "image", "source": short}]})
    assert [one["source"]["data"] for one in found["content"]] == [
        "[base64, 3072 bytes]",
        "[base64, 14 bytes]",
    ]
    assert found["content"][0]["source"]["media_type"] == "image/png"
    assert (
        told(f"see data:image/png;base64,{data} there")
        == "see data:image/png;base64,[base64, 3072 bytes] there"
    )
    lines = "\n".join(data[start : start + 76] for start in range(0, len(data), 76))
    assert data[100:170] not in told(lines).replace("\n", "")


def test_members_that_are_named_like_secrets_are_left_out_but_not_their_schemas() -> None:
    value = {"password": "hunter2", "db_password": "x", "API_KEY": "y", "password_hint": "dog", "tokens": 5}
    schema = {"properties": {"password": {"type": "string"}}}
    assert told(value) == {
        "password": "[secret]",
        "db_password": "[secret]",
        "API_KEY": "[secret]",
        "password_hint": "dog",
        "tokens": 5,
    }
    assert told(schema) == schema


def test_operators_patterns_and_fields_are_left_out_too() -> None:
    value = {"system": [{"text": "secret plan"}], "messages": [{"content": "of E-123456"}]}
    found = told(value, patterns={"employee": "E-[0-9]{6}"}, fields=frozenset({"system"}))
    assert found == {"system": "[left out]", "messages": [{"content": "of [employee]"}]}


def test_full_leaves_out_keys_of_the_gateway_alone() -> None:
    text = f"{SECRETS[0]} {SECRETS[-1]} the-server-key password"
    assert told(text, "full", secrets=["the-server-key"]) == f"sk-… {SECRETS[-1]} [key] password"
    assert told({"password": "hunter2"}, "full") == {"password": "hunter2"}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("mode", ["redacted", "full"])
def test_secret_that_was_cut_is_not_kept_as_far_as_it_goes(secret: str, mode: str) -> None:
    if mode == "full" and not secret.startswith("sk-"):
        return
    data = json.dumps({"messages": [{"content": "many words " * 20 + secret}]}).encode()
    start = data.index(b"words sk") if secret.startswith("sk-") else len(data) - len(secret) - 10
    for end in range(max(start, len(data) - 60), len(data)):
        copy = KeptBodies("id", 1.0, mode, BodyCopy(data[:end], len(data)))
        [body] = bodies_of(copy, Redactor())
        assert body.truncated
        assert secret[:12] not in body.text
        assert "many words" in body.text


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, "a." * 150_000, "sk-" * 100_000, "eyJ" * 100_000, "-----BEGIN PRIVATE KEY" * 15_000,
     "a@" * 150_000, "bearer " * 40_000, "x" * 50 + "@" + "y." * 150_000, "a b " * 75_000,
     "\n".join("A" * 70 for _ in range(4_000)), "-----BEGIN PRIVATE KEY-----" * 10_000],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    redactor = Redactor(["abc"], {"n": "[0-9]{3}"})
    started = time.perf_counter()
    redactor.redacted({"a": text})
    assert time.perf_counter() - started < 2


# ── settings ──


def test_patterns_are_checked_at_the_start() -> None:
    good = Settings(log_bodies_redact={"employee": "E-[0-9]{6}"}, log_bodies_redact_fields="system, tools,")
    assert list(body_problems(good)) == []
    assert redacted_fields(good) == {"system", "tools"}
    for name, pattern, words in (
        ("a", "(", "no regular expression"),
        ("a", "x*", "matches the empty text"),
        ("a b", "x", "is no name"),
    ):
        [(about, problem)] = body_problems(Settings(log_bodies_redact={name: pattern}))
        assert about == {"log_bodies_redact"}
        assert words in problem
    many = Settings(log_bodies_redact={f"n{number}": "x" for number in range(101)})
    assert any("at most 100" in problem for _, problem in body_problems(many))


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(SettingsError, match="log_bodies_redact"):
        load({}, environ={"FERRYMAN_LOG_BODIES_REDACT": "{a: '('}"})
