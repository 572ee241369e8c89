"""Measures Ferryman beside nginx, with the same load, in the same run: see `__main__.py`."""
