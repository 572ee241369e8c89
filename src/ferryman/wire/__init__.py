"""Anthropic's format, without I/O: what Ferryman reads out of requests, answers and event streams.

Nothing here writes or re-encodes: the bytes on the way stay as they came.
"""
