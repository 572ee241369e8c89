"""`python -m ferryman`."""

from ferryman.cli.main import main

main()
