"""Studies: a table of a paper, planned as a grid of cells, made, and set beside the printed numbers.
Imports stages and the report."""
