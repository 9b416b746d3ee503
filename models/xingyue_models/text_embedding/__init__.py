"""Text embedding, and with it ingestion and search of documents."""
