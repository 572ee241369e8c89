"""What is fuzzed: each target has a `check` that raises if an input shows something that must not be.

They need no fuzzer, so the suite replays the corpus through them anywhere (tests/test_corpus.py).
"""
