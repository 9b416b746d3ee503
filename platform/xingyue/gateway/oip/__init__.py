"""Open Inference Protocol v2, as KServe and Triton speak it, over REST and gRPC.

``tensors`` knows data types and bytes, ``tasks`` what tensors mean to a model, ``models`` what may
be called. ``rest_body`` and ``grpc_body`` only translate; nothing here bills: every inference goes
through ``metering.metered`` like a call of the native routes.
"""
