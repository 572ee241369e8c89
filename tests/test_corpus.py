"""Every input that the fuzzers' corpus holds, through the same checks, without a fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from proofs import fuzz
from proofs.targets import answers, meters, requests

CHECKS = {"requests": requests.check, "answers": answers.check, "meters": meters.check}
FILES = sorted(path for path in fuzz.CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_input_of_the_corpus_shows_nothing_wrong(path: Path) -> None:
    CHECKS[path.parent.name](path.read_bytes())


def test_corpus_has_each_target_and_stays_within_its_bounds() -> None:
    assert {path.parent.name for path in FILES} == set(fuzz.TARGETS) == set(CHECKS)
    assert len(FILES) <= fuzz.MAX_FILES
    assert sum(path.stat().st_size for path in FILES) <= fuzz.MAX_BYTES


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        (requests, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (answers, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ],
)
def test_checks_would_notice_another_reading(target: object, broken: bytes) -> None:
    """A check that compares nothing would pass over the whole corpus."""
    if target is requests:
        ours = requests.Play(0).run(broken, [0])
        theirs = requests.reference(broken + broken)
        with pytest.raises(AssertionError, match="another number"):
            requests._compare(ours, theirs)
    else:
        (ours_,) = answers.Play(0).run(broken, [0])
        with pytest.raises(AssertionError, match="another answer"):
            answers._compare(ours_, answers.reference(broken.replace(b"{}", b"[]"), 0))
