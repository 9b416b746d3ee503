"""Tenants' files and vector stores, by the OpenAI API's rules.

``FileService`` keeps files, ``VectorStoreService`` keeps stores of indexed files and publishes
each store's merged index as a head that replicas load. Rows lie in the database, bytes in the
object store. How a document is read and embedded comes in as an ``Indexer``; nothing here knows
HTTP, models or money.
"""
