"""Made-up uneven grinding: a field at the margin of a tile whose texture is that of another pass.

Real uneven tiles are few (a handful of tiles, each photographed six times); what they share is a
band or a wedge along an edge, cut off by a nearly straight line, where the grinding marks are
stronger and the brightness is another. That can be made from any two good tiles.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_inspection.augment import Labelled


def make_uneven(
    good: Labelled, other: Labelled, value: int, random: np.random.Generator
) -> Labelled:
    """``good`` with a field of ``other``'s texture; the field is labelled ``value``."""
    height, width = good.grey.shape
    field = _field(height, width, random)
    share = float(field.mean())
    if not 0.02 < share < 0.6:
        return good
    texture = cv2.resize(other.grey, (width, height), interpolation=cv2.INTER_LINEAR)
    texture = texture.astype(np.float32)[:: 1 if random.random() < 0.5 else -1]
    base = good.grey.astype(np.float32)
    slow_base = cv2.GaussianBlur(base, (0, 0), 12)
    marks = texture - cv2.GaussianBlur(texture, (0, 0), 12)
    # Either brightness or texture must differ enough to be seen at the border.
    gain = float(random.choice([-1, 1], p=[0.3, 0.7]) * random.uniform(0.08, 0.3))
    strength = float(random.uniform(0.6, 2.0))
    new = slow_base * (1 + gain) + marks * strength
    edge = float(random.uniform(0.6, 2.5))
    soft = np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), edge))
    grey = np.clip(base * (1 - soft) + new * soft, 0, 255).round().astype(np.uint8)
    labels = np.where(field & (good.labels == 0), value, good.labels).astype(np.uint8)
    return Labelled(grey, labels, good.scale)


def _field(height: int, width: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """A band at the upper or lower edge, or a wedge in a corner, with a slightly wavy border."""
    across = np.linspace(0, 1, width, dtype=np.float32)
    wave = cv2.resize(
        random.normal(0, 0.012, (1, 6)).astype(np.float32),
        (width, 1),
        interpolation=cv2.INTER_CUBIC,
    )[0]
    if random.random() < 0.65:
        start = random.uniform(0.05, 0.45)
        border = start + random.normal(0, 0.06) * (across - 0.5)
    else:
        start, reach = random.uniform(0.1, 0.5), random.uniform(0.2, 0.8)
        border = start * (1 - across / reach)
    border = border + wave
    if random.random() < 0.5:
        border = border[::-1]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    if random.random() < 0.5:
        down = down[::-1]
    return np.asarray(down < border[None, :], np.bool_)
