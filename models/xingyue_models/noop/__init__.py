"""A family that does nothing: what is left of a call is the platform's own cost."""
