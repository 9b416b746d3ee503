"""What is hosted: the catalogue file, its rules, and the pinned weights behind it.

``spec``     the shape of ``catalog.yaml``, checked on load
``loader``   YAML file -> ``Catalog``, with errors that name the line's path
``plugins``  entry-point doors: families, recipes, weight builders
``weights``  digest-pinned weight files: fetch, build, verify
"""
