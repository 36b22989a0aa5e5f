from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from unlabeled.pipeline.decode.decoder_file import read_decoder
from unlabeled.pipeline.errors import ConfigError

GOOD = 'SUFFIXES = (".ABC",)\nMEDIA = "text"\n\n\ndef decode(data):\n    return data.decode()\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "abc.py"
    path.write_text(text)
    return path


def test_a_decoder_is_read_but_not_run(tmp_path: Path) -> None:
    text = GOOD + "\n1 / 0\n"
    file = read_decoder(written(tmp_path, text))
    assert (file.name, file.media, file.suffixes) == ("abc", "text", (".abc",))
    assert file.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_decoder_is_for_keys_with_its_suffix_in_any_case(tmp_path: Path) -> None:
    file = read_decoder(written(tmp_path, GOOD))
    assert file.is_for("a/b.abc")
    assert file.is_for("a/B.ABC")
    assert not file.is_for("a/b.abc.txt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def (", "not a Python file"),
        (GOOD.replace("SUFFIXES", "SUFFIX"), "expected SUFFIXES"),
        (GOOD.replace('(".ABC",)', '".ABC"'), "expected SUFFIXES"),
        (GOOD.replace('(".ABC",)', "(1,)"), "expected SUFFIXES of text"),
        (GOOD.replace('"text"', '"video"'), "MEDIA to be one of image, audio, text, found 'video'"),
        (GOOD.replace("def decode", "def read"), "must define a function"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_decoder(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_decoder(tmp_path / "none.py")
