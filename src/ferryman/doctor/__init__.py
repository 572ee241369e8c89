"""`ferryman doctor`: looks at all that Ferryman needs, changes nothing, and says what to do.

Each check is a function that gives findings. Those that judge are apart from those that look.
"""
