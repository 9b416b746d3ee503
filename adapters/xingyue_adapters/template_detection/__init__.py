"""Template detection: the training script, evaluation and samples of ``lighting-defect-detection``."""
