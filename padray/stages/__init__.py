"""The chain and its stages: what exists, what is missing, how a missing unit is made and stored.
Imports the science, the report and the store."""
