"""Training, augmentation and samples of ``lighting-defect-detection``."""
