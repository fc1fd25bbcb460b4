"""Information extraction: difficulty scores, the schedule that they give, and how experts are trained.
Imports data and networks."""
