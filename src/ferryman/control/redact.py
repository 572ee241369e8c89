"""What is left out of bodies before they are kept: of JSON values, never of pieces of JSON. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

from ferryman.wire.prefix import CUT
from ferryman.wording import without_keys

MIN_SECRET = 8
"""Characters of a secret of the gateway's; a shorter one would be found in words."""

SHORT_CHARACTERS = 40
SHORT_TEXTS = 4_096
"""Names of members and the like, which come again and again: what is left out of them is remembered."""

CUT_BACK = 64
"""Characters at the end of a text that was cut that may be the beginning of what would have been left out."""

_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{256,}+={0,2}"
    r"|(?:[A-Za-z0-9+/]{60,80}\r?\n){4,}+[A-Za-z0-9+/=]*+"  # in lines, as in mails and certificates
)
_BASE64_WORD = 60
"""The shortest word in what this matches."""


class _Shape(NamedTuple):
    """What is left out by its shape.

    Attributes:
        told: what stands in its place.
        hints: in lower case; without any of them in a text, none can be there. That spares most of the time.
        pattern: no text takes it longer than a few passes.
    """

    told: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]


_SHAPES = (
    _Shape(
        "[private key]",
        ("private key",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
    ),
    _Shape("[token]", ("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+")),  # RFC 7519
    _Shape("[key]", ("sk-",), re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}+")),
    _Shape(
        "[key]",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"(?<![A-Za-z0-9_])(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{16,}+"),
    ),
    _Shape(
        "[key]",
        ("glpat-", "xox", "hf_", "npm_", "pypi-", "k_live_", "k_test_"),
        re.compile(
            r"(?<![A-Za-z0-9_])(?:glpat-|xox[abeoprs]-|hf_|npm_|pypi-|[rs]k_live_|[rs]k_test_)"
            r"[A-Za-z0-9_-]{16,}+"
        ),
    ),
    _Shape("[key]", ("aiza",), re.compile(r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}")),
    _Shape(
        "[AWS key]",
        ("akia", "asia", "abia", "acca"),
        re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
    ),
    _Shape(
        "[AWS key]",
        ("secret_access_key", "secret access key", "secretaccesskey"),
        re.compile(r"(?i:secret[_ ]?access[_ ]?key)[\"'\s:=]{1,8}[A-Za-z0-9/+=]{40}"),
    ),
    _Shape(
        "[credential]",
        ("authorization",),
        re.compile(r"(?i:authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token)\s{1,4})[^\s\"']+"),
    ),
    _Shape(
        "[credential]",
        ("bearer",),
        re.compile(r"(?i:\bbearer\s{1,4})(?=[A-Za-z._~+/=-]{0,200}\d)[A-Za-z0-9._~+/=-]{12,}+"),
    ),
    _Shape(
        "[e-mail address]",
        ("@",),
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}"
            r"(?:\.[A-Za-z0-9-]{1,63}){1,8}"
        ),
    ),
)
"""As their issuers document them."""

_SECRET = re.compile(
    r"(?i)(?:.*[_-])?(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?token|refresh[_-]?token"
    r"|auth[_-]?token|authorization|client[_-]?secret|private[_-]?key)"
)
"""Names of members whose texts are left out."""


class Redactor:
    """Leaves out what is not to be kept."""

    def __init__(
        self,
        secrets: Iterable[str] = (),
        patterns: Mapping[str, str] | None = None,
        fields: frozenset[str] = frozenset(),
    ) -> None:
        """Prepare the patterns.

        Args:
            secrets: the gateway's own, left out of everything wherever they stand.
            patterns: the operator's, by the names that stand in the place of what they match.
            fields: names of members whose values are left out.
        """
        found = {secret for secret in secrets if len(secret) >= MIN_SECRET}
        self._secrets = tuple(sorted(found, key=len, reverse=True))  # one may be a part of another
        self._shapes = _SHAPES + tuple(
            _Shape(f"[{name}]", ("",), re.compile(text)) for name, text in (patterns or {}).items()
        )
        self._hints = tuple(hint for shape in self._shapes for hint in shape.hints)
        self._short = lru_cache(SHORT_TEXTS)(self._without_shapes)
        self._fields = fields

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._shapes)} shapes>"

    def redacted(self, value: object) -> Any:  # noqa: ANN401  # JSON
        """`value` without credentials, e-mail addresses, and data of images and documents.

        Raises:
            RecursionError: it is nested too deeply.
        """
        return _walked(value, self._redacted_text, self._redacted_member)

    def full(self, value: object) -> Any:  # noqa: ANN401  # JSON
        """`value` without what may be a virtual key, or is a secret of the gateway's; errors as above."""
        return _walked(value, partial(_ended, change=self._full_text), _looked_into)

    def _full_text(self, text: str) -> str:
        return without_keys(self._without_secrets(text))

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[key]")
        return text

    def _redacted_text(self, text: str) -> str:
        return _ended(text, self._without_shapes if len(text) > SHORT_CHARACTERS else self._short)

    def _without_shapes(self, text: str) -> str:
        text = self._without_secrets(text)
        if max(map(len, text.split()), default=0) >= _BASE64_WORD:
            text = _BASE64.sub(lambda found: f"[base64, {_size(found[0])} bytes]", text)
        lower = text.lower()
        if any(map(lower.__contains__, self._hints)):
            for told, hints, pattern in self._shapes:
                if any(map(lower.__contains__, hints)):
                    text = pattern.sub(told, text)
        return text

    def _redacted_member(self, members: dict[str, object], name: str) -> str | None:
        """What stands in the place of a member's value; `None` where that is looked into."""
        value = members[name]
        if name in self._fields:
            return "[left out]"
        if not isinstance(value, str):
            return None
        if name == "data" and members.get("type") == "base64":  # of an image, or a document
            return f"[base64, {_size(value.removesuffix(CUT))} bytes]"
        return "[secret]" if _SECRET.fullmatch(name[-80:]) else None


def _looked_into(_members: dict[str, object], _name: str) -> None:
    """Every value is."""


def _walked(
    value: Any,  # noqa: ANN401  # JSON
    text: Callable[[str], str],
    member: Callable[[dict[str, object], str], str | None],
) -> Any:  # noqa: ANN401  # JSON
    """A copy of `value` with each text changed, and with members that have another value."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_walked(one, text, member) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, one in value.items():
        told = member(value, name)
        made[text(name)] = _walked(one, text, member) if told is None else told
    return made


def _ended(text: str, change: Callable[[str], str]) -> str:
    """`text` after `change`; of one that was cut, without what may be the beginning of a secret."""
    if not text.endswith(CUT):
        return change(text)
    changed = change(text.removesuffix(CUT))
    if changed.endswith("]"):  # a secret would have ended before it
        return f"{changed} …"
    before = changed[: max(len(changed) - CUT_BACK, 0)]
    return before[: max(before.rfind(space) for space in " \n\t\r") + 1] + "…"


def _size(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
