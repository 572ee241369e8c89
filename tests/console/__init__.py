"""The console, from its parts to what a browser sees of it."""
