"""What to search, what to maximise, what was tried. No Ray: cluster/tuning.py adapts it."""
