"""The HTTP edge: keys in, answers out, every call metered.

``services``  what the routes work with, handed over by ``app.py``
``auth``      key -> principal, scope, rate limit
``errors``    the only place that maps an error to a status and an envelope
``metering``  admit -> run -> post -> answer, for every call that costs money
the rest      one file for each group of routes
"""
