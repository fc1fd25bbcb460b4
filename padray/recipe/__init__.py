"""A settings file for a dataset of one's own."""
