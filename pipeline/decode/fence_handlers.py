"""The handlers of a fence's child, by name; how to write one stands in fence_child."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image as PillowImage

from .fence_child import Handler, Session
from .fence_protocol import Answer
from .image import Picture, open_picture
from .limits import Limits


def prepare(limits: Limits) -> None:
    """Set what libraries keep as global state; the child's own process makes that safe."""
    PillowImage.MAX_IMAGE_PIXELS = limits.max_pixels


def image(session: Session) -> Answer:
    """Decode the source as an image and keep the picture; the header says what it is."""
    picture = session.kept = open_picture(session.data(), session.limits, session.options)
    return Answer(
        {
            "width_px": picture.rgb.width,
            "height_px": picture.rgb.height,
            "codec": picture.codec,
            "exif_orientation": picture.exif_orientation,
            "is_truncated": picture.is_truncated,
        }
    )


def image_crop(session: Session, box: list[int], width_px: int, height_px: int) -> Answer:
    """Return a box of the kept picture, resized as `resample.crop_resize` does: uint8 [height_px, width_px, 3]."""
    picture: Picture = session.kept
    x, y, width, height = box
    part = picture.rgb.crop((x, y, x + width, y + height))
    if part.size != (width_px, height_px):
        part = part.resize((width_px, height_px), PillowImage.Resampling.BICUBIC)
    return Answer({}, [np.asarray(part)])


def image_pixels(session: Session) -> Answer:
    """Return all of the kept picture: uint8 [height, width, 3]."""
    picture: Picture = session.kept
    return Answer({}, [np.asarray(picture.rgb)])


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {"image": image, "image_crop": image_crop, "image_pixels": image_pixels}
)
