"""Who changed what: an append-only, hash-chained log of what operators and vendors did."""
