"""Fine-tuning jobs as a durable state machine: pure rules beside one store.

Knows neither recipes nor Ray nor HTTP: ``xingyue.finetune`` runs a job, ``serving`` places it.
"""
