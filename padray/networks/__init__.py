"""Networks: the families by name, each fitted to the size of its samples, and the flat view of them.
Imports the settings and PyTorch."""
