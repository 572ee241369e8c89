"""The syntax of controls, without a server."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.simulator.control import KEYS, Control, parse, split_model
from ferryman.simulator.errors import ApiError


def test_nothing_is_the_default() -> None:
    assert parse() == parse("") == parse(" ; ;") == Control()


def test_keys_set_their_attributes() -> None:
    assert parse("status=529; retry-after=7; should-retry=false ;cut=3;reset") == Control(
        status=529, retry_after="7", should_retry=False, cut=3, reset=True
    )


def test_later_source_overrides_an_earlier_one_key_by_key() -> None:
    assert parse("cut=3; pace=0.5", "cut=4") == Control(cut=4, pace_seconds=0.5)


def test_semicolon_inside_a_json_string_does_not_separate() -> None:
    assert parse(r'usage={"a":"x;y\";z"}; cut=1') == Control(usage={"a": 'x;y";z'}, cut=1)


def test_unknown_key_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(ApiError) as caught:
        parse("satus=529")
    assert caught.value.status == 400
    assert "`satus`" in caught.value.message
    assert all(name in caught.value.message for name in KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "status=200",
        "status=600",
        "status=x",
        "status",
        "slow-start=-1",
        "slow-start=nan",
        "slow-start=inf",
        "pace=3601",
        "cut=-1",
        "cut=1.5",
        "events=0",
        "times=0",
        "text-bytes=999999999",
        "comments=maybe",
        "retry-after=",
        "retry-after=é",
        "usage={",
        'usage="',
    ],
)
def test_bad_value_is_refused_with_what_the_key_means(text: str) -> None:
    key = KEYS[text.partition("=")[0]]
    with pytest.raises(ApiError) as caught:
        parse(text)
    assert key.meaning in caught.value.message


def test_key_given_twice_is_refused() -> None:
    with pytest.raises(ApiError, match="twice"):
        parse("cut=1; cut=2")


def test_every_attribute_has_its_key() -> None:
    assert {key.attribute for key in KEYS.values()} == set(Control.__dataclass_fields__)


def test_control_without_faults_keeps_the_shape_of_the_answer() -> None:
    faults = "status=500; retry-after=1; should-retry=true; slow-start=1; stall=1; cut=1; drop; error-event=1"
    assert parse(faults + "; events=5").without_faults() == Control(events=5)


def test_model_is_split_at_its_first_colon() -> None:
    assert split_model("claude-x") == ("claude-x", "")
    assert split_model('claude-x:usage={"a":1}') == ("claude-x", 'usage={"a":1}')


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ApiError):
        parse(text)
