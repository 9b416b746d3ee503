"""Tuning of retrieval on a tenant's own questions: a map of queries, and the shares of a search."""
