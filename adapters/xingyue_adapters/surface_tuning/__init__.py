"""Heads fitted on a partner's own images: one-class, classification, segmentation."""
