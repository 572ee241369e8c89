"""Ferryman: a self-hosted gateway for Claude.

Start reading at `ferryman.relay.exchange`: it shows one request from top to bottom.
"""

__version__ = "0.1.0"
