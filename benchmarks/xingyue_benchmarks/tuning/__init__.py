"""Fine-tuning through the public doors: how long it takes, how good it is, what serving feels."""
