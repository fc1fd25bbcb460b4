"""Gradient matching: DC and DSA, with PAD's two filters."""
