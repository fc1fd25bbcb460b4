"""A settings file for a dataset of one's own.
Imports data, the settings and their configuration."""
