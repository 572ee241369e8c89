"""Dollars of JSON are whole nano-dollars, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.control.access.asked import GenerateKey
from ferryman.control.access.money import MAX_DOLLARS, nanousd_of
from ferryman.control.access.reading import from_body
from ferryman.control.access.terms import terms_in
from ferryman.control.spend_row import dollars_of
from ferryman.errors import InvalidRequest


def nanousd_in(text: str) -> int:
    """What is kept of `max_budget` as it is spelled in JSON."""
    members = msgspec.json.decode(f'{{"max_budget": {text}}}', type=dict[str, msgspec.Raw])
    kept = terms_in(from_body(GenerateKey, members))["max_budget_nanousd"]
    assert isinstance(kept, int)
    return kept


@given(st.integers(0, MAX_DOLLARS * 10**9))
def test_every_nano_dollar_is_kept_as_it_is_spelled(nanousd: int) -> None:
    whole, rest = divmod(nanousd, 10**9)
    assert nanousd_in(f"{whole}.{rest:09d}") == nanousd
    assert nanousd_in(f'"{whole}.{rest:09d}"') == nanousd
    assert nanousd_in(f"{nanousd}e-9") == nanousd


@given(st.integers(0, MAX_DOLLARS * 10**9 - 1), st.text("0123456789", max_size=60))
def test_what_is_finer_is_left_off_and_never_added(nanousd: int, more: str) -> None:
    whole, rest = divmod(nanousd, 10**9)
    assert nanousd_in(f"{whole}.{rest:09d}{more}") == nanousd


@given(st.floats(0, 4_000_000))
def test_float_of_a_client_comes_back_as_good_as_it_was(dollars: float) -> None:
    assert abs(dollars_of(nanousd_in(repr(dollars))) - dollars) <= 2e-9


@given(st.integers(0, 4 * 10**15))
def test_what_is_told_is_what_is_kept(nanousd: int) -> None:
    assert nanousd_of(Decimal(repr(dollars_of(nanousd)))) == nanousd


@given(st.decimals(max_value=Decimal("-1e-30"), allow_nan=False))
def test_negative_amount_is_refused(dollars: Decimal) -> None:
    with pytest.raises(ValueError, match="-"):
        nanousd_of(dollars)


@pytest.mark.parametrize("text", ['"NaN"', '"-Infinity"', '"sNaN"', '"$5"', "1e400", "true", "{}", '""'])
def test_what_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"`max_budget`: .* cannot be used; wanted dollars"):
        nanousd_in(text)


@pytest.mark.parametrize("text", ["0", "0.0", "-0", "-0.0", "0e99", "1e-10", "1e-999"])
def test_next_to_nothing_is_nothing(text: str) -> None:
    assert nanousd_in(text) == 0
