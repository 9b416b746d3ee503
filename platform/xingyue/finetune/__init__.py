"""Use cases of fine-tuning: a tenant's data becomes a version of its variant.

``service`` is what owners ask for, ``worker`` what runs one job, in a process of its own. Knows
neither HTTP nor Ray; recipes come by entry points.
"""
