"""The journal: what a worker writes so that no token is lost, and how it is read again.

`format` and `replay` decide and touch no file; `writer`, `sync`, `segment` and `tail` touch files.
A worker has a `JournalWriter`; the control plane has a `Tail` for the directory of each worker.
`files` names the files, `records` are the values in them.
"""
