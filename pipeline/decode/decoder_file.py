"""A user's own decoder: a Python file for media that no built-in decoder knows. It runs behind the fence.

    SUFFIXES = (".dcm",)        # of the source keys that it decodes
    MEDIA = "image"             # what it makes of them: image, audio or text

    def decode(data: bytes): ...

`decode` returns, for an image, uint8 [height, width, 3] or [height, width]; for a sound, (float32 [num_samples] or
[num_samples, num_channels], full scale being 1; rate in hz); for a text, a str. ValueError says that the source is
damaged. What it needs is imported at the top of the file: later no file can be opened. It must answer the same for the
same bytes; its content is part of a dataset's settings.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ..errors import ConfigError

Media = Literal["image", "audio", "text"]
_MEDIA = ("image", "audio", "text")


@dataclass(frozen=True, slots=True)
class DecoderFile:
    """A decoder as it travels to the workers: its file's name, what it is for, and its text."""

    name: str
    media: Media
    suffixes: tuple[str, ...]
    text: str

    @property
    def sha256(self) -> str:
        """sha256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def handler(self) -> str:
        """Name of its handler in the fence's child."""
        return f"decoder:{self.name}"

    def is_for(self, source_key: str) -> bool:
        """Return whether it decodes the source; letter case does not count."""
        return source_key.lower().endswith(self.suffixes)


def read_decoder(path: Path) -> DecoderFile:
    """Return the decoder in a file, which is read but not run: that happens behind the fence alone.

    Raises:
        ConfigError: no such file, not Python, or SUFFIXES, MEDIA or `decode` is missing or not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except OSError as error:
        raise ConfigError(f"`--decoder {path}`: cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"`--decoder {path}`: not a Python file: {error}.") from error
    suffixes, media = _constant(tree, "SUFFIXES"), _constant(tree, "MEDIA")
    if isinstance(suffixes, str) or not isinstance(suffixes, tuple | list) or not suffixes:
        raise ConfigError(f"`--decoder {path}`: expected SUFFIXES = ('.abc',), found {suffixes!r}.")
    if not all(isinstance(suffix, str) and suffix for suffix in suffixes):
        raise ConfigError(f"`--decoder {path}`: expected SUFFIXES of text, found {suffixes!r}.")
    if media not in _MEDIA:
        raise ConfigError(f"`--decoder {path}`: expected MEDIA to be one of {', '.join(_MEDIA)}, found {media!r}.")
    if not any(isinstance(node, ast.FunctionDef) and node.name == "decode" for node in tree.body):
        raise ConfigError(f"`--decoder {path}`: it must define a function `decode(data: bytes)`.")
    return DecoderFile(path.stem, cast(Media, media), tuple(suffix.lower() for suffix in suffixes), text)


def _constant(tree: ast.Module, name: str) -> Any:
    """Return the constant that the module's top level gives to `name`, None where there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None
