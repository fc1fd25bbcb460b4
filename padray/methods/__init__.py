"""The families of methods that make synthetic sets, each in a folder of its own, and the loop that they share.
Imports data, networks, experts' settings and the synthetic set; no path, no storage, no Ray."""
