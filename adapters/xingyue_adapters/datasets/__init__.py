"""Data sets that a tenant sends: read in any known layout, judged in words, split by group."""

from xingyue_adapters.datasets.groups import split_by_group
from xingyue_adapters.datasets.masks import read_mask
from xingyue_adapters.datasets.pairs import PairDataset, PairSample, open_pairs
from xingyue_adapters.datasets.reading import open_images
from xingyue_adapters.datasets.report import Needs, report_images, report_leakage
from xingyue_adapters.datasets.samples import Box, ImageDataset, ImageSample
from xingyue_adapters.datasets.text_report import report_texts
from xingyue_adapters.datasets.texts import TextDataset, TextSample, open_texts

__all__ = [
    "Box",
    "ImageDataset",
    "ImageSample",
    "Needs",
    "PairDataset",
    "PairSample",
    "TextDataset",
    "TextSample",
    "open_images",
    "open_pairs",
    "open_texts",
    "read_mask",
    "report_images",
    "report_leakage",
    "report_texts",
    "split_by_group",
]
