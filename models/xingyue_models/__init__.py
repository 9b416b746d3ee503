"""Model families, found through the entry-point group ``xingyue.families``."""
