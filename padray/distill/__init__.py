"""Trajectory matching: the synthetic set, where its experts start, and the loop that distils it."""
