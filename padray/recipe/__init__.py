"""A settings file for a dataset of one's own, sized by the plan for the time that there is.
Imports data, the settings, their configuration and planning."""
