"""LoRA fine-tuning of a language model on a tenant's chats, from its GGUF file and back to it."""
