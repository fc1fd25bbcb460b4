"""One module of settings per part of the chain; config.py puts them together."""
