"""A storage and its runs, looked after: verify, repair, remove, usage, how far the work is.
Imports stages and the store."""
