"""The synthetic set: what is learned of it, its file, and where it starts.
Imports data."""
