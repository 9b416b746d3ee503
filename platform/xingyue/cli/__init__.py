"""The command line. ``main`` puts the groups together; every command takes ``--json``."""
