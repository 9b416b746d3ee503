"""Pictures of an appliance's painted front, drawn: free to ship, alike on every machine.

Brushed metal under uneven light, a door seam, vents, screws, a display with a glow, grain of the
sensor: as much detail as a line camera's photo, so that JPEG size and decoding cost are like real
ones. Everything follows from the seed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def render(seed: int, width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    """RGB uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    light = 0.65 + 0.3 * np.cos(2 * (across - rng.uniform(0, 1))) - 0.15 * down
    brushed = cv2.blur(
        rng.normal(0, 1, (height, width)).astype(np.float32), (max(3, width // 16), 1)
    )
    tint = rng.uniform(150, 215, 3)
    painted = tint * (light + 0.12 * brushed)[..., None]
    panel = np.ascontiguousarray(painted.clip(0, 255), np.uint8)
    _parts(panel, rng)
    grain = rng.normal(0, 3.0, panel.shape)
    return np.asarray((panel + grain).clip(0, 255), np.uint8)


def _parts(panel: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = panel.shape[:2]
    seam = int(rng.uniform(0.3, 0.7) * width)
    cv2.line(panel, (seam, 0), (seam, height), (60, 60, 64), 2)
    for row in range(int(0.62 * height), int(0.92 * height), max(6, height // 40)):
        cv2.line(panel, (int(0.08 * width), row), (seam - 12, row), (45, 45, 48), 3)
    for corner in ((0.05, 0.05), (0.95, 0.05), (0.05, 0.95), (0.95, 0.95)):
        centre = (int(corner[0] * width), int(corner[1] * height))
        cv2.circle(panel, centre, max(3, width // 80), (110, 112, 118), -1)
        cv2.line(panel, (centre[0] - 4, centre[1]), (centre[0] + 4, centre[1]), (40, 40, 40), 1)
    left, top = seam + int(0.05 * width), int(rng.uniform(0.15, 0.3) * height)
    right, bottom = min(width - 8, left + width // 4), top + height // 6
    cv2.rectangle(panel, (left, top), (right, bottom), (18, 22, 28), -1)
    text = f"{int(rng.integers(10, 99))}:{int(rng.integers(10, 60))}"
    cv2.putText(
        panel,
        text,
        (left + 8, bottom - 12),
        cv2.FONT_HERSHEY_SIMPLEX,
        width / 640,
        (90, 220, 200),
        2,
    )


def jpeg(seed: int, width: int, height: int, quality: int) -> bytes:
    """The picture as JPEG with 4:2:0 chroma, as cameras write it."""
    bgr = cv2.cvtColor(render(seed, width, height), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV has no JPEG encoder"
    return bytes(data)
