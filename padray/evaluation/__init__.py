"""Proof: fresh networks trained on the set, tested on real data, beside controls by the same protocol.
Imports data, networks, experts' training and the synthetic set."""
