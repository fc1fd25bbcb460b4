"""The stages of the chain, one module each: what exists, what is missing, how a missing unit is made."""
