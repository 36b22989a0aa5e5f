"""The handlers that a fence's child makes of users' decoder files; what these hold stands in decoder_file.py."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..errors import Reject, RejectReason
from .fence_child import Handler, Session
from .fence_protocol import Answer, Message
from .image import Picture
from .limits import Limits

_BLOCK_SAMPLES = 1 << 16
Decode = Callable[[bytes], Any]


def load_handler(file: Message) -> Handler:
    """Run a decoder's file and return its handler, which answers as the built-in one for its medium does.

    Args:
        file: `name`, `media` and `text` of a DecoderFile.

    Whatever the file raises is raised: the child does not start.
    """
    module = ModuleType(f"unlabeled_decoder_{file['name']}")
    exec(compile(file["text"], f"{file['name']}.py", "exec"), module.__dict__)  # noqa: S102 - the user's own code
    decode: Decode = module.decode
    if file["media"] == "image":
        return _image_handler(file["name"], decode)
    if file["media"] == "audio":
        return _audio_handler(file["name"], decode)
    return _text_handler(decode)


def _image_handler(name: str, decode: Decode) -> Handler:
    def handler(session: Session) -> Answer:
        pixels = _decoded(decode, session)
        is_picture = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
        if not is_picture or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise _wrong("uint8 [height, width, 3] or [height, width]", pixels)
        _check_size(pixels, session.limits)
        rgb = PillowImage.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
        session.kept = Picture(colours=rgb, profile=None, codec=name, exif_orientation=0, is_truncated=False)
        size = {"width_px": rgb.width, "height_px": rgb.height}
        return Answer({**size, "codec": name, "exif_orientation": 0, "is_truncated": False})

    return handler


def _audio_handler(name: str, decode: Decode) -> Handler:
    from .audio import OpenSound  # now, while files can be opened
    from .fence_handlers import sound_answers

    def handler(session: Session, part_us: list[int] | None) -> Generator[Answer, None, Answer]:
        samples, rate_hz = _decoded(decode, session)
        if not isinstance(samples, np.ndarray) or samples.dtype.kind != "f" or samples.ndim not in (1, 2):
            raise _wrong("(float32 [num_samples, num_channels], rate in hz)", samples)
        reader = _Samples(name, samples.reshape(len(samples), -1).astype(np.float32, copy=False), int(rate_hz))
        part = None if part_us is None else (part_us[0], part_us[1])
        sound = OpenSound(reader, session.limits, session.options, is_truncated=False, part_us=part)
        return (yield from sound_answers(sound))

    return handler


def _text_handler(decode: Decode) -> Handler:
    def handler(session: Session, **_: Any) -> Generator[Answer, None, Answer]:
        text = _decoded(decode, session)
        if not isinstance(text, str):
            raise _wrong("a str", text)
        data = np.frombuffer(text.encode(), np.uint8)
        if len(data):
            yield Answer({"documents": [(0, len(data))]}, [data])
        return Answer()

    return handler


class _Samples:
    """Decoded samples as audio.OpenSound reads them."""

    def __init__(self, codec: str, samples: NDArray[np.float32], rate_hz: int) -> None:
        self.codec = codec
        self.sample_rate_hz = rate_hz
        self.num_channels = samples.shape[1]
        self.num_declared: int | None = len(samples)
        self.is_seekable = True
        self._samples = samples

    def blocks(self, first: int = 0) -> Iterator[NDArray[np.float32]]:
        for start in range(first, len(self._samples), _BLOCK_SAMPLES):
            yield self._samples[start : start + _BLOCK_SAMPLES]


def _decoded(decode: Decode, session: Session) -> Any:
    try:
        return decode(session.data())
    except ValueError as error:
        raise Reject(RejectReason.CORRUPT, str(error)) from error


def _check_size(pixels: NDArray[np.uint8], limits: Limits) -> None:
    height_px, width_px = pixels.shape[:2]
    if not height_px or not width_px:
        raise Reject(RejectReason.CORRUPT, f"{width_px} x {height_px} px")
    if height_px * width_px > limits.max_pixels or max(height_px, width_px) > limits.max_side_px:
        raise Reject(
            RejectReason.LIMIT_PIXELS,
            f"{width_px} x {height_px} px, max_pixels={limits.max_pixels}, max_side_px={limits.max_side_px}",
        )


def _wrong(expected: str, found: Any) -> TypeError:
    shape = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
    return TypeError(f"the decoder must return {expected}, but returned {shape}")
