"""Information extraction: difficulty scores, the schedule that they give, and the experts trained on it."""
