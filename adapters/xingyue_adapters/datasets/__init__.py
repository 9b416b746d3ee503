"""Data sets that a tenant sends: read in any known layout, judged in words, split by group."""

from xingyue_adapters.datasets.groups import split_by_group
from xingyue_adapters.datasets.masks import read_mask
from xingyue_adapters.datasets.reading import open_images
from xingyue_adapters.datasets.report import Needs, report_images, report_leakage
from xingyue_adapters.datasets.samples import Box, ImageDataset, ImageSample

__all__ = [
    "Box",
    "ImageDataset",
    "ImageSample",
    "Needs",
    "open_images",
    "read_mask",
    "report_images",
    "report_leakage",
    "split_by_group",
]
