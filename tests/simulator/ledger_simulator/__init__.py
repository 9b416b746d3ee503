"""The meter driven by a seed: gateways, callers, clocks, kills and a database that goes away.

One seed is one run, the same each time: a loop whose time is virtual, one source of randomness,
writers that write on the loop itself. What is run is the product's own meter, ledger and SQLite.
After each run the promise is checked against what the callers were told.
"""
