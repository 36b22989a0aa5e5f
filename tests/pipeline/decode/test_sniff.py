"""Kinds of files by their first bytes, and images that end before their own structure does."""

from __future__ import annotations

import io

import pytest
from PIL import Image as PillowImage
from unlabeled.pipeline.decode.sniff import ends_early, sniff

from tests import broken_media


@pytest.mark.parametrize("kind", sorted(broken_media.SOUND))
def test_allowed_formats_are_known(kind: str) -> None:
    assert sniff(broken_media.SOUND[kind]()) == kind


@pytest.mark.parametrize(
    ("image_format", "kind"),
    [
        ("EPS", "eps"), ("ICO", "ico"), ("PCX", "pcx"), ("SGI", "sgi"), ("DDS", "dds"), ("JPEG2000", "jpeg2000"),
        ("PDF", "pdf"), ("MSP", "msp"), ("ICNS", "icns"), ("XBM", "xbm"), ("QOI", "qoi"),
    ],
)  # fmt: skip
def test_other_image_formats_are_known(image_format: str, kind: str) -> None:
    image = PillowImage.new("1" if image_format in ("MSP", "XBM") else "RGB", (32, 32))
    assert sniff(broken_media.encoded(image, image_format)) == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (broken_media.html(), "html"),
        (b"<?xml version='1.0'?><svg/>", "xml"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"OggS\0", "ogg"),
        (b"PK\3\4", "zip"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pointer"),
        (b"Image type: RGB image\r\n", "im"),
        (b"", None),
        (b"hello", None),
        (bytes(64), None),
    ],
)
def test_other_kinds(data: bytes, kind: str | None) -> None:
    assert sniff(data) == kind


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "avif"])
@pytest.mark.parametrize("fraction", [0.3, 0.9, 0.99])
def test_a_cut_file_ends_early_and_a_whole_one_does_not(kind: str, fraction: float) -> None:
    whole = broken_media.SOUND[kind]()
    assert not ends_early(kind, whole)
    assert ends_early(kind, broken_media.cut(whole, fraction))


def test_what_follows_a_jpeg_does_not_matter() -> None:
    file = io.BytesIO(broken_media.jpeg() + bytes(100))
    assert not ends_early("jpeg", file.getvalue())


def test_formats_without_a_structure_are_not_judged() -> None:
    assert not ends_early("tiff", b"II*\0")
