"""The handlers of a fence's child, by name; how to write one stands in fence_child."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..errors import Reject, RejectReason
from ..items import ClipRequest
from ..resample import Box, SquareCrop, resize
from .fence_child import Handler, Session
from .fence_protocol import Answer, Message
from .image import Picture, open_picture
from .limits import Limits

if TYPE_CHECKING:
    from .audio import OpenSound
    from .video import OpenVideo

_Crop = tuple[int, float, tuple[float, float]]
_SOUND_BLOCK_SAMPLES = 1 << 18
_TEXT_BATCH_BYTES = 1 << 18


def prepare(limits: Limits) -> None:
    """Set what libraries keep as global state; the child's own process makes that safe."""
    PillowImage.MAX_IMAGE_PIXELS = limits.max_pixels


def image(session: Session, crops: Sequence[_Crop] = ()) -> Answer:
    """Decode the source as an image and keep the picture; the header says what it is, the arrays are its crops.

    A crop: side in px, fraction of the short side, and position as [x, y], see resample.SquareCrop.
    """
    picture = session.kept = open_picture(session.data(), session.limits, session.options)
    return Answer(_facts(picture), _squares(picture, crops))


def images(session: Session, pictures: Sequence[tuple[int, Sequence[_Crop]]]) -> Answer:
    """Decode images that lie end to end in the source, and keep none: `pictures` are their lengths and crops.

    The header says what each is, null where it has no verdict but a reject: `image` says why. The arrays are the
    crops of the others, one after the other.
    """
    data = session.data()
    facts: list[Message | None] = []
    arrays: list[NDArray[np.uint8]] = []
    start = 0
    for num_bytes, crops in pictures:
        try:
            picture = open_picture(data[start : start + num_bytes], session.limits, session.options)
        except Reject as verdict:
            if verdict.reason is RejectReason.DECODER_MEMORY:
                raise  # this child is not fit for the others either
            facts.append(None)
        else:
            facts.append(_facts(picture))
            arrays += _squares(picture, crops)
        start += num_bytes
    return Answer({"pictures": facts}, arrays)


def _facts(picture: Picture) -> Message:
    return {
        "width_px": picture.colours.width,
        "height_px": picture.colours.height,
        "codec": picture.codec,
        "exif_orientation": picture.exif_orientation,
        "is_truncated": picture.is_truncated,
    }


def _squares(picture: Picture, crops: Sequence[_Crop]) -> list[NDArray[np.uint8]]:
    return [_square(picture, SquareCrop(side_px, fraction, (x, y))) for side_px, fraction, (x, y) in crops]


def image_crop(session: Session, box: list[int], width_px: int, height_px: int) -> Answer:
    """Return a box of the kept picture, resized as `resample.crop_resize` does: uint8 [height_px, width_px, 3]."""
    picture: Picture = session.kept
    x, y, width, height = box
    return Answer({}, [_crop(picture, (x, y, width, height), width_px, height_px)])


def _square(picture: Picture, crop: SquareCrop) -> NDArray[np.uint8]:
    return _crop(picture, crop.box(*picture.colours.size), crop.side_px, crop.side_px)


def _crop(picture: Picture, box: Box, width_px: int, height_px: int) -> NDArray[np.uint8]:
    return np.asarray(resize(picture.rgb(box), width_px, height_px))


def image_pixels(session: Session) -> Answer:
    """Return all of the kept picture: uint8 [height, width, 3]."""
    picture: Picture = session.kept
    return Answer({}, [np.asarray(picture.rgb())])


def audio(session: Session, part_us: tuple[int, int] | None) -> Generator[Answer, None, Answer]:
    """Yield what is known of the sound, then its samples in blocks of int16; the last answer tells `is_truncated`."""
    from .audio import open_sound

    part = None if part_us is None else (part_us[0], part_us[1])
    return (yield from sound_answers(open_sound(session.source, session.limits, session.options, part_us=part)))


def video(session: Session, part_us: tuple[int, int] | None) -> Answer:
    """Open the source as a video and keep it open; the header is its VideoInfo."""
    from .video import open_video

    part = None if part_us is None else (part_us[0], part_us[1])
    session.kept = open_video(session.source, session.limits, session.options, part_us=part)
    return Answer(dataclasses.asdict(session.kept.info))


def video_clips(session: Session, requests: list[dict[str, Any]]) -> Generator[Answer, None, Answer]:
    """Yield the clips of the kept video that `requests` ask for; the last answer tells counters and `is_truncated`."""
    kept: OpenVideo = session.kept
    clips = kept.clips(
        [
            ClipRequest(
                targets_us=tuple(one["targets_us"]),
                crop_box=tuple(one["crop_box"]),
                width_px=one["width_px"],
                height_px=one["height_px"],
            )
            for one in requests
        ]
    )
    while clips:  # each is let go once it has been handed over
        clip = clips.pop(0)
        yield Answer({}, [clip.frames, clip.pts_us, clip.pict_types])
    return Answer({"counters": dataclasses.asdict(kept.counters), "is_truncated": kept.is_truncated})


def video_sound(session: Session) -> Generator[Answer, None, Answer]:
    """Yield the sound of the kept video, as `audio` does."""
    kept: OpenVideo = session.kept
    return (yield from sound_answers(kept.sound()))


def documents(
    session: Session, layout: str, field: str, part_bytes: list[int] | None
) -> Generator[Answer, None, Answer]:
    """Yield the documents of the source in batches: headers with `start_byte` and `num_bytes`, and the UTF-8 bytes."""
    from .text import TextLayout, TextOptions, read_documents

    options = TextOptions(layout=TextLayout(layout), field=field)
    part = None if part_bytes is None else (part_bytes[0], part_bytes[1])
    places: list[tuple[int, int]] = []
    batch = bytearray()
    for document in read_documents(session.source, session.limits, options, part_bytes=part):
        text = document.text.encode()
        places.append((document.start_byte, len(text)))
        batch += text
        if len(batch) >= _TEXT_BATCH_BYTES:
            yield Answer({"documents": places}, [np.frombuffer(bytes(batch), np.uint8)])
            places, batch = [], bytearray()
    if places:
        yield Answer({"documents": places}, [np.frombuffer(bytes(batch), np.uint8)])
    return Answer()


def sound_answers(sound: OpenSound) -> Generator[Answer, None, Answer]:
    """Yield what is known of a sound, then its samples in blocks of int16; the last answer tells `is_truncated`."""
    yield Answer(dataclasses.asdict(sound.header) | {"rate_hz": sound.rate_hz})
    collected: list[NDArray[np.int16]] = []
    for block in sound.blocks():
        collected.append(block)
        if sum(map(len, collected)) >= _SOUND_BLOCK_SAMPLES:
            yield Answer({}, [np.concatenate(collected)])
            collected.clear()
    if collected:
        yield Answer({}, [np.concatenate(collected)])
    return Answer({"is_truncated": sound.is_truncated})


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        function.__name__: function
        for function in (image, images, image_crop, image_pixels, audio, video, video_clips, video_sound, documents)
    }
)
