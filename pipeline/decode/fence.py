"""The fence: everything that decodes untrusted bytes does it in a child process that can do nothing else.

The child has an empty environment, stands in `/`, and is limited in address space, open files, file size and core;
it dies with its parent. Source bytes and decoded arrays cross in shared memory, JSON messages beside them. It is
reused from source to source, and replaced when a source crashes it, hangs it or fills its memory. Such a source gets
a second try in a fresh child, then a (transient) Reject; the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..items import Document, Image, Waveform
from ..resample import SquareCrop
from .bytes_source import ByteSource
from .fence_calls import FenceCalls, memory_bytes_for
from .fence_items import AskedImage, FencedImage, crops_as_json, images_of
from .fence_media import FencedVideo, documents_of, waveform_of

__all__ = ["Fence", "memory_bytes_for"]


class Fence(FenceCalls):
    """A reused child process that decodes. Use it as a context manager, from one thread.

    Args:
        limits: what a source may be; beyond it, Reject.
        options: what decoding does where there is a choice.
        memory_bytes: the child's address space; by default enough for the largest picture within `limits`.
        hang_seconds: a child that computes this long for one call hangs, plus 20 s for each megabyte of the source.
            Waiting for the store does not count.
        spool: folder for what is too long for memory; the system's temporary folder by default.
        decoders: further handlers, name to `path/to/file.py:function` or `package.module:function`.
        decoder_files: users' decoders; each decodes the sources whose keys end in its suffixes.
    """

    def image(self, data: bytes, source_key: str = "", *, crops: Sequence[SquareCrop] = ()) -> Image:
        """Return the picture in `data`; its pixels stay in the child, `crop` fetches only the crop.

        `crops` are fetched at once: asking for them later takes no further turn of the child.
        It stays usable when the fence has gone on to other sources: it is then decoded again.
        Raises Reject, as image.open_picture.
        """
        handler = self._handler("image", source_key)
        args = {"crops": crops_as_json(crops)} if crops and handler == "image" else {}
        return FencedImage(self, self.open(handler, data, max_bytes=self.limits.max_image_bytes, **args), crops)

    def images(self, asked: Sequence[AskedImage]) -> list[Image | None]:
        """Return the pictures that are asked for, from one turn of the child; None for what `image` must decide alone.

        Turns push parent and child out of the processor's caches, so that few of them save time. Nothing is tried
        again and nobody is blamed here: where the child is lost on one of the pictures, all are None.
        """
        batch = [each for each in asked if self._handler("image", each.source_key) == "image"]
        pictures = [(len(each.data), crops_as_json(each.crops)) for each in batch]
        answer = self.call_once("images", b"".join(each.data for each in batch), pictures=pictures)
        made = dict(zip(map(id, batch), images_of(self, batch, answer), strict=True)) if answer else {}
        return [made.get(id(each)) for each in asked]

    def audio(
        self, data: ByteSource | bytes, source_key: str = "", *, part_us: tuple[int, int] | None = None
    ) -> Waveform:
        """Return the sound in a source (of a part of it: [start, end) microseconds); long ones lie on disk.

        Raises Reject, as audio.open_sound and OpenSound.blocks.
        """
        answers = self.stream(self._handler("audio", source_key), data, part_us=part_us)
        return waveform_of(answers, self.spool, part_us)

    def video(self, data: ByteSource | bytes, *, part_us: tuple[int, int] | None = None) -> FencedVideo:
        """Return the opened video in a source (or a part of it): `info`, `clips(requests)`, `audio()`, `counters`.

        Raises Reject, as video.open_video.
        """
        return FencedVideo(self, self.open("video", data, part_us=part_us))

    def documents(
        self, data: ByteSource | bytes, source_key: str = "", *, part_bytes: tuple[int, int] | None = None
    ) -> Iterator[Document]:
        """Yield the documents of a text (of those that start in [start, end) of its bytes), in order.

        `source_key` tells the layout where `options.text_layout` is auto. Exhaust or close it before the fence is used
        for something else. Raises Reject, as text.read_documents.
        """
        layout: str = self.options.text_layout
        if layout == "auto":
            layout = "jsonl" if source_key.lower().endswith((".jsonl", ".ndjson")) else "whole"
        args = {"layout": layout, "field": self.options.text_field, "part_bytes": part_bytes}
        return documents_of(self.stream(self._handler("text", source_key), data, **args))

    def _handler(self, media: str, source_key: str) -> str:
        """Return the handler for a source: a user's, where one is for its key, else the built-in one."""
        for file in self.decoder_files:
            if file.media == media and file.is_for(source_key):
                return file.handler
        return "documents" if media == "text" else media
