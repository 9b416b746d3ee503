"""A gateway asks a recipe what it offers: that must not bring the training libraries along."""

from __future__ import annotations

import subprocess
import sys

HEAVY = "{'torch', 'sklearn', 'onnxruntime', 'cv2', 'scipy', 'matplotlib'}"


def test_asking_what_is_offered_imports_nothing_heavy():
    code = (
        "import sys; from xingyue.catalog.plugins import load_recipe; "
        "offered = load_recipe('surface-inspection').methods; "
        f"print(*{HEAVY} & set(sys.modules), len(offered))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "4"), done.stdout + done.stderr


def test_only_segmentation_brings_torch_along():
    code = (
        "import sys; from xingyue_adapters.surface_tuning import methods, recipe; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stdout + done.stderr
