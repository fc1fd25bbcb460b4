"""Sets and experts of others come in, sets go out in the layouts that others read.
Imports stages and all that these import."""
