"""What a run would take on a cluster of any size: a discrete-event model of padray's stages on Ray. No Ray here."""
