"""A worker to be killed: the real one, with the doubles' recipe and object store."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tuning_doubles import EchoRecipe, FolderStore, pause

from xingyue import tune_worker
from xingyue.finetune import bases
from xingyue.variants.store import VariantStore


class PausingStore(VariantStore):
    def add_version(self, new):
        pause("publish")
        version = super().add_version(new)
        pause("published")
        return version


if __name__ == "__main__":
    bases.load_recipe = lambda name: EchoRecipe()
    tune_worker.S3Store = lambda access: FolderStore(Path(access.endpoint))
    tune_worker.VariantStore = PausingStore
    status = tune_worker.main()
    logging.shutdown()
    os._exit(status)
