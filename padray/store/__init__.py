"""Bytes: locations, artefacts with their manifests, shards, streaming, a cache.
Imports the machine's files and errors; knows nothing of networks."""
