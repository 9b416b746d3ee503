"""Statements and reports: read from the ledger, told as JSON, CSV and PDF.

Every one is first a *form*: a plain dict whose canonical JSON (``forms.canonical``) has one
digest. CSV and PDF are drawn from the form alone, and name that digest.
"""
