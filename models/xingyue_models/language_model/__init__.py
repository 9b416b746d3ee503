"""Language models in GGUF: plain chat, and answers grounded in passages with verbatim citations."""
