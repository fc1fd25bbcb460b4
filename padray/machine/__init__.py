"""The machine that a process runs on: its files, its memory, its numerics, its signals.
Imports the settings alone."""
