"""Distribution matching (DM): the mean features of real and synthetic samples, in networks that are never trained."""
