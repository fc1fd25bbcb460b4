"""Bring and take: sets and experts of others come in, sets go out in the layouts that others read."""
