"""The command line. Commands are thin: they read settings, call, and print."""
