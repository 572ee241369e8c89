"""Batches on the wire: edits that change one value, what a creation asks for, and results line by line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.wire.batch import (
    MAX_LINE_BYTES,
    MAX_MODELS,
    REFUSED,
    Asked,
    Lines,
    asked_in,
    batch_id_in,
    succeeded_in,
    with_results_urls,
)

BASE = "https://gate.example/anthropic"
THEIRS = "https://api.anthropic.com/v1/messages/batches/b_1/results"
OURS = f"{BASE}/v1/messages/batches/b_1/results"


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param('{"results_url":"URL"}', id="alone"),
        pytest.param('{ "a" : [1.50, {"results_url":"x"}],\r\n"results_url" : "URL" , "z":1e5}', id="spaces"),
        pytest.param('{"results\\u005furl":"URL"}', id="key with an escape"),
        pytest.param('{"results_url":"URL","results_url":"URL"}', id="twice"),
        pytest.param('{"data":[ {"results_url":"URL"} ,{"results_url":null},\n{"a":1}],"b":[]}', id="page"),
        pytest.param('{"data":[],"results_url":null}', id="null"),
        pytest.param('{"data":[1,"a",[{"results_url":"x"}]],"data":{}}', id="other shapes"),
    ],
)
def test_only_the_bytes_of_the_value_change(spelled: str) -> None:
    found = with_results_urls(spelled.replace("URL", THEIRS).encode(), BASE)
    assert found.decode() == spelled.replace("URL", OURS)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (THEIRS, "/v1/messages/batches/b_1/results"),
        (
            "http://u:p@evil.example:81/x/v1/messages/batches/b/results?a=b",
            "/v1/messages/batches/b/results?a=b",
        ),
        ("//evil.example/v1/messages/batches/b/results", "/v1/messages/batches/b/results"),
        ("/v1/messages/batches/b/results", "/v1/messages/batches/b/results"),
        ("https://evil.example/elsewhere", "/elsewhere"),
        ("https:\\\\evil.example\\elsewhere", "/https:\\\\evil.example\\elsewhere"),
        ("evil.example", "/evil.example"),
        ("", "/"),
    ],
)
def test_no_address_leads_elsewhere(url: str, path: str) -> None:
    found = json.loads(with_results_urls(json.dumps({"results_url": url}).encode(), "http://ours"))
    assert found == {"results_url": f"http://ours{path}"}


@given(st.text())
def test_every_text_becomes_an_address_below_ours(url: str) -> None:
    told = json.loads(with_results_urls(msgspec.json.encode({"results_url": url}), "http://ours"))
    assert told["results_url"].startswith("http://ours/")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"results_url":1}', b'{"results_url":{"a":1}}', b'{"data":[{}', b"{}x"]
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(REFUSED):
        with_results_urls(body, BASE)


def test_creation_is_counted_by_model() -> None:
    params: list[Any] = [
        {"model": "a", "max_tokens": 5, "messages": [{"model": "no"}]},
        {"model": "b", "max_tokens": 7},
        {"max_tokens": "many", "model": "a"},
        {"model": 5},
        None,
    ]
    body = msgspec.json.encode({"requests": [{"custom_id": "x", "params": each} for each in params]})
    assert asked_in(body) == Asked(5, {"a": 2, "b": 1, "": 2}, {"a": 5, "b": 7}, frozenset({"a", "b", ""}))


def test_models_beyond_the_bound_count_under_the_last() -> None:
    items = [{"params": {"model": f"m{n}"}} for n in range(MAX_MODELS + 5)]
    asked = asked_in(msgspec.json.encode({"requests": items}))
    assert asked is not None
    assert (len(asked.models), asked.models[f"m{MAX_MODELS - 1}"]) == (MAX_MODELS, 6)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"requests":5}', b"{", b'{"requests":[1]}'])
def test_creation_that_cannot_be_read_asks_for_nothing(body: bytes) -> None:
    assert asked_in(body) is None


def test_id_of_an_answer() -> None:
    assert batch_id_in(b'{"id":"msgbatch_1"}') == "msgbatch_1"
    assert [batch_id_in(body) for body in (b"", b"{}", b'{"id":5}', b'{"id":"' + b"x" * 201 + b'"}')] == [
        None
    ] * 4


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    data = b"\n".join(lines)
    found: list[bytes] = []
    split = Lines(found.append)
    for at in range(0, len(data), size):
        split.feed(data[at : at + size])
    split.end()
    assert found == [line for line in lines if line.strip()]
    assert (split.count, split.lost) == (len(found), 0)


def test_line_that_is_too_long_is_counted_and_not_held() -> None:
    found: list[bytes] = []
    split = Lines(found.append)
    split.feed(b"a\n")
    for _ in range(MAX_LINE_BYTES // (1 << 20) + 1):
        split.feed(b"x" * (1 << 20))
    split.feed(b"\nb\n")
    assert (found, split.count, split.lost) == ([b"a", b"b"], 3, 1)


@pytest.mark.parametrize("kind", ["errored", "canceled", "expired", "unheard of"])
def test_result_that_is_no_success_is_free(kind: str) -> None:
    assert succeeded_in(msgspec.json.encode({"custom_id": "a", "result": {"type": kind}})) is None


def test_result_without_a_shape_is_none() -> None:
    for line in (b"<html>", b"{}", b"[]", b'{"result":5}'):
        with pytest.raises(msgspec.DecodeError):
            succeeded_in(line)
