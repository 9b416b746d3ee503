"""Documents as data: reading, passages, the hybrid index, evidence and grounding.

Pure code: bytes and arrays in, text and arrays out. It knows neither which model embeds a text nor
which one words an answer; the families ``text-embedding`` and ``chat`` bring those.
"""
