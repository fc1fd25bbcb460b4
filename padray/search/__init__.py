"""What to search, what to maximise, what was tried. No Ray: cluster/tuning.py spreads it.
Imports stages."""
