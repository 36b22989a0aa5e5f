from __future__ import annotations

import re

from unlabeled.pipeline.preview.style import CSS


def _luminance(colour: str) -> float:
    digits = colour * 2 if len(colour) == 3 else colour
    if len(colour) == 3:
        digits = "".join(digit * 2 for digit in colour)
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_is_legible_in_light_and_dark() -> None:
    palettes = re.findall(r":root\{([^}]*)\}", CSS)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})", palette))
        for text, ground in (
            ("fg", "bg"),
            ("fg", "card"),
            ("dim", "bg"),
            ("dim", "card"),
            ("accent", "bg"),
            ("accent", "card"),
            ("odd-fg", "odd-bg"),
            ("fg", "hidden"),
            ("fg", "replaced"),
            ("fg", "kept"),
        ):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_nothing_is_fetched() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
