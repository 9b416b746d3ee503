"""Benchmarks of the platform against the raw loop, in one run. Never part of the wheel."""
