"""Information embedding: a student's steps on the synthetic set, matched with an expert's."""
