"""What all settings are made of, those of the machine, and those of a search; science has its own beside it.
Imports nothing of padray."""
