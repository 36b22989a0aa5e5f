from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.manifest import Manifest, require_manifest
from unlabeled.pipeline.preview import page as page_module
from unlabeled.pipeline.preview.page import Page, render
from unlabeled.pipeline.storage import Store

from tests.pipeline.preview.shown import FILES, make_dataset, read

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_dataset(tmp_path_factory.mktemp("page"), FILES)


@pytest.fixture(scope="module")
def manifest(store: Store) -> Manifest:
    return require_manifest(store)


@pytest.fixture(scope="module")
def page(store: Store, manifest: Manifest) -> Page:
    return render(store, manifest, num_examples=60)


def test_the_page_is_well_formed_and_says_what_it_shows(page: Page, manifest: Manifest) -> None:
    shown = read(page.html)
    assert page.num_examples == len(shown.all("article")) == manifest.counts.num_examples == 56
    assert page.num_odd == sum(article.get("class") == "odd" for article in shown.all("article")) > 0
    assert page.num_rows_read == 56
    assert "16 sources = 14 used + 1 filtered + 1 rejected" in shown.texts


def test_the_odd_ones_come_first(page: Page) -> None:
    kinds = [article.get("class") for article in read(page.html).all("article")]
    assert kinds == sorted(kinds, key=lambda kind: kind != "odd")


def test_no_key_is_markup(page: Page) -> None:
    shown = read(page.html)
    assert not shown.all("script")
    assert not shown.all("i")
    assert all("onerror" not in attributes for _, attributes in shown.elements)
    for key in FILES:
        assert key in shown.texts


def test_nothing_outside_the_file_is_named(page: Page) -> None:
    for _, attributes in read(page.html).elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
        assert not {"style", "srcset", "onload", "onclick", "action"} & attributes.keys()


def test_the_policy_allows_this_style_and_no_script(page: Page) -> None:
    (policy,) = [meta["content"] for meta in read(page.html).all("meta") if "http-equiv" in meta]
    style = re.search("<style>(.*)</style>", page.html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:")


def test_links_lead_to_sections(page: Page) -> None:
    shown = read(page.html)
    targets = {attributes["id"] for _, attributes in shown.elements if "id" in attributes}
    assert {link["href"].removeprefix("#") for link in shown.all("a")} == targets


def test_the_same_version_gives_the_same_page(page: Page, store: Store, manifest: Manifest) -> None:
    assert render(store, manifest, num_examples=60) == page


def test_a_page_has_a_bounded_size(store: Store, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_SHEET_BYTES", 20_000)
    small = render(store, manifest, num_examples=60)
    assert 0 < small.num_examples < 56
    assert len(small.html) < 20_000 + 60_000


def test_a_version_without_examples_has_a_page(store: Store, manifest: Manifest) -> None:
    without = [file for file in manifest.tables if file.kind in ("parts", "rejects")]
    shown = read(render(store, manifest.model_copy(update={"tables": without}), num_examples=5).html)
    assert "This version holds no example." in shown.texts
    assert "too_small" in shown.texts


def test_a_damaged_tokenizer_is_found(store: Store, manifest: Manifest) -> None:
    store.put("_assets/" + "0" * 64, b"{}")
    with pytest.raises(CorruptData, match="_assets/000"):
        render(store, manifest.model_copy(update={"assets": {"tokenizer.json": "0" * 64}}), num_examples=1)


@contextmanager
def proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy on this machine that answers nothing and keeps the request lines that it was sent."""
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    try:
                        lines.append(connection.recv(4096).decode("latin-1").split("\r\n", 1)[0])
                    except OSError:
                        lines.append("")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], lines
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def shoot(html: Path, folder: Path, port: int) -> PillowImage.Image:
    """Open the page in headless Chromium, whatever it asks for going to the proxy, and return what it looks like."""
    assert BROWSER is not None
    picture = folder / "page.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    subprocess.run(
        [
            BROWSER,
            *flags.split(),
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            f"--proxy-server=http://127.0.0.1:{port}",
            "--proxy-bypass-list=<-loopback>",
            "--window-size=1280,1600",
            f"--screenshot={picture}",
            html.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return PillowImage.open(picture).convert("RGB")


def of_the_page(lines: list[str]) -> list[str]:
    """Return what the page asked for: everything but the browser's own calls to its maker."""
    makers = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")
    return [line for line in lines if not any(maker in line for maker in makers)]


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_the_page_and_asks_for_nothing(page: Page, tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    html.write_text(page.html, encoding="utf-8")
    with proxy() as (port, lines):
        shown = np.asarray(shoot(html, tmp_path, port))
    assert of_the_page(lines) == []
    # Noise pictures have far more colours than a page of text; without the style nothing would stand below 1,000 px
    # in the right half.
    assert len(np.unique(shown[1000:, 640:].reshape(-1, 3), axis=0)) > 5000


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_page_that_does_ask_is_noticed(tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    html.write_text('<img src="http://media.test/picture.jpg">', encoding="utf-8")
    with proxy() as (port, lines):
        shoot(html, tmp_path, port)
    assert any("http://media.test/picture.jpg" in line for line in of_the_page(lines))


def test_the_whole_recipe_is_json(page: Page, manifest: Manifest) -> None:
    shown = read(page.html)
    recipe = next(text for text in shown.texts if text.startswith("{"))
    assert json.loads(recipe) == manifest.recipe.model_dump(mode="json")
