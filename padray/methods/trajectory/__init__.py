"""Trajectory matching (MTT, TESLA, FTD, DATM, PAD, IADD): a student's steps on the set, matched with an expert's."""
