"""Which model a name means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.aliases import (
    FAMILIES,
    Aliases,
    Model,
    bare,
    families_in,
    folded,
    leaves_family,
    made_of,
    resolved,
)
from ferryman.errors import SettingsError
from ferryman.settings_load import load

ARGO = [
    Model("claudesonnet45", "Claude Sonnet 4.5"),
    Model("claudesonnet35v2", "Claude Sonnet 3.5 v2"),
    Model("claudeopus4", "Claude Opus 4"),
    Model("gpto3", "o3"),
    Model("gpt4o", "GPT-4o"),
]
COMMON = Aliases([model.id for model in ARGO], {"fast": "argo:claude-4.5-sonnet"}, made_of(ARGO))


def asked(name: str, own: dict[str, str] | None = None, common: Aliases | None = COMMON) -> str:
    return resolved(name, None if own is None else Aliases(given=own), common)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        pytest.param("claudesonnet45", "claudesonnet45", id="id"),
        pytest.param("argo:claude-4.5-sonnet", "claudesonnet45", id="seeds-spelling"),
        pytest.param("argo:claude-sonnet-4.5", "claudesonnet45", id="display-name"),
        pytest.param("argo:claude-4-opus", "claudeopus4", id="seeds-other-spelling"),
        pytest.param("argo:claude-3.5-sonnet-v2", "claudesonnet35v2", id="version-behind"),
        pytest.param("argo:gpt-o3", "gpto3", id="o-series"),
        pytest.param("argo/claude-4.5-sonnet", "claudesonnet45", id="slash"),
        pytest.param("ARGO:Claude-4.5-Sonnet", "claudesonnet45", id="case"),
        pytest.param("claude-4.5-sonnet", "claudesonnet45", id="no-prefix"),
        pytest.param("anthropic/claude-sonnet-4-5", "claudesonnet45", id="litellm-prefix"),
        pytest.param(" Claude_Sonnet 4.5 ", "claudesonnet45", id="separators"),
        pytest.param("argo:claudesonnet45", "claudesonnet45", id="prefix-before-id"),
        pytest.param("fast", "claudesonnet45", id="alias-of-an-alias-of-the-list"),
        pytest.param("argo:FAST", "claudesonnet45", id="alias-folded"),
        pytest.param("claude-sonnet-4-20250514", "claude-sonnet-4-20250514", id="unknown"),
        pytest.param("argo:claude-sonnet-4-20250514", "argo:claude-sonnet-4-20250514", id="unknown-prefixed"),
        pytest.param("", "", id="empty"),
        pytest.param("模型", "模型", id="not-ascii"),
        pytest.param("--", "--", id="only-separators"),
        pytest.param("claudesonnet45" + " " * 200, "claudesonnet45" + " " * 200, id="too-long"),
    ],
)
def test_a_name_means_the_model_that_it_spells(name: str, model: str) -> None:
    assert asked(name) == model


def test_an_id_comes_before_an_alias_and_a_keys_alias_before_the_gateways() -> None:
    assert asked("claudeopus4", {"claudeopus4": "gpto3"}) == "claudeopus4"
    assert asked("fast", {"fast": "gpto3"}) == "gpto3"
    assert asked("Fast", {"fast": "gpto3"}) == "gpto3"
    common = Aliases(["m"], {"Fast": "m"})
    assert asked("Fast", {"fast": "gpto3"}, common) == "m", "what is exact comes before what is alike"


def test_a_keys_alias_may_stand_for_one_of_the_gateways_and_needs_no_list() -> None:
    assert asked("mine", {"mine": "fast"}) == "claudesonnet45"
    assert asked("argo:Mine", {"mine": "claude-opus-4"}, None) == "claude-opus-4"


def test_aliases_never_run_in_circles() -> None:
    assert asked("a", {"a": "b", "b": "a"}) == "b"
    circle = Aliases((), {"a": "b", "b": "a"})
    assert (resolved("a", None, circle), resolved("b", None, circle)) == ("b", "a")


def test_a_spelling_that_several_models_have_is_passed_unchanged() -> None:
    both = Aliases(["claude-3-5", "claude-35"])
    assert resolved("Claude 35", None, both) == "Claude 35"
    assert resolved("claude-35", None, both) == "claude-35"


def test_a_display_name_that_two_models_have_makes_no_alias_unless_they_differ_in_their_date() -> None:
    dated = [
        Model("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
        Model("claude-haiku-4-5", "Claude Haiku 4.5"),
    ]
    assert made_of(dated)["argo:claude-4.5-haiku"] == "claude-haiku-4-5"
    assert made_of([Model("claude-a", "Claude X"), Model("claude-b", "Claude X")]) == {}


@pytest.mark.parametrize("model_id", ["claudehaiku45", "large-1"])
def test_a_list_that_calls_another_model_by_the_name_of_a_family_makes_no_alias(model_id: str) -> None:
    assert made_of([Model(model_id, "Claude Opus 4.5")]) == {}


@pytest.mark.parametrize(
    ("alias", "target", "leaves"),
    [
        ("claude-opus-5-5", "claude-sonnet-5-5", True),
        ("argo:claude-4-opus", "claudehaiku45", True),
        ("my-corpus", "claude-haiku-5-5", False),
        ("gpt-4o", "claude-sonnet-5-5", False),
        ("opus", "claude-opus-5-5", False),
    ],
)
def test_families_are_told_apart_by_whole_words(alias: str, target: str, leaves: bool) -> None:
    assert leaves_family(alias, target) is leaves


NAMES = st.text("aAb:/-. 4", max_size=6) | st.sampled_from(
    [f"claude-{family}-{number}" for family in FAMILIES for number in "45"]
)


@given(
    NAMES,
    st.lists(NAMES),
    st.dictionaries(NAMES, NAMES),
    st.dictionaries(NAMES, NAMES),
    st.none() | st.dictionaries(NAMES, NAMES),
)
def test_what_is_not_said_by_an_operator_is_the_same_but_for_case_separators_and_prefix(
    name: str, ids: list[str], given_: dict[str, str], made: dict[str, str], own: dict[str, str] | None
) -> None:
    made = {alias: target for alias, target in made.items() if not leaves_family(alias, target)}
    common = Aliases(ids, given_, made)
    model = asked(name, own, common)
    assert model == asked(name, own, Aliases(reversed(ids), given_, made)), (
        "the order of a list does not count"
    )
    if name in ids:
        assert model == name
    elif not given_ and not own and not made:
        assert folded(bare(model)) == folded(bare(name))
    if not given_ and not own:
        assert not leaves_family(name, model) or not families_in(name)


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ({"fast": "x" * 201}, "is no name of a model"),
        ({"claude-opus-5-5": "claude-haiku-5-5"}, "speaks of one family of Claude"),
        ({f"a{number}": "b" for number in range(1_001)}, "there are 1001 aliases; at most 1000"),
    ],
)
def test_aliases_of_the_settings_that_cannot_be_used_are_refused(
    tmp_path: Path, aliases: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"aliases": json.dumps(aliases)}, environ={}, directory=tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith("aliases, from the command line: ")
    assert said in problem
