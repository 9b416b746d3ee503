"""What surface inspection offers to fit, in words. Light: a gateway reads it, and fits nothing."""

from __future__ import annotations

from collections.abc import Mapping

METHODS: Mapping[str, str] = {
    "one-class": (
        "Good parts only, 20 images or more (8 at the very least): tells what looks strange, and "
        "where. Defects, if any, weigh the threshold and are measured on, never fitted on."
    ),
    "classification": (
        "8 images or more of every class, good parts may be one: tells which class an image shows."
    ),
    "segmentation": (
        "8 defects or more with a mask or boxes, good parts beside them: tells where defects are "
        "and of which kind."
    ),
    "supervised": (
        "Segmentation where there are good parts, and half of the defects (8 or more) have a mask "
        "or boxes; else "
        "classification."
    ),
}
