"""From a preset or a YAML file, with `--set` on top, to checked settings; what a job may be given.
Imports the settings and the machine's files, and no science."""
