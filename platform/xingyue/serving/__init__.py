"""Shared-trunk serving on Ray. The only room that imports Ray.

``batching``     calls -> batches, per trunk, without added wait (no Ray)
``head_cache``   heads in memory, least recently used out first (no Ray)
``engine``       one trunk and its heads: what a replica holds (no Ray)
``replica``      the Ray Serve deployment around an engine
``remote``       the gateway's side: handle calls, retries, deadlines
``cluster``      starting Ray and Serve, deploying a catalogue
"""
