"""The control plane: one process per machine, which answers Ferryman's own paths and feeds the workers.

It is no part of relaying: workers go on without it with what they hold.
"""
