"""What a run would take, before anything runs: units, steps, bytes, memory, seconds and money.
Imports stages, methods and search."""
