"""`python -m ferryman`."""

from ferryman.cli.main import main

if __name__ == "__main__":
    main()
