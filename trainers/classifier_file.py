"""A fine-tuned classifier in a folder: `encoder/` as anyone can load it, its head as safetensors, and what it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file

from ..pipeline.errors import ConfigError, CorruptData
from ..pipeline.storage import Store, StoreOptions
from .encoders.build import SPEC_FILE, load_encoder, save_encoder
from .encoders.encoder import Encoder
from .finetune import Classifier, FinetuneSettings, make_head

ENCODER, HEAD, ABOUT = "encoder", "head.safetensors", "classifier.json"


class ClassifierInfo(BaseModel):
    """What `classifier.json` says. train_fingerprint: of the dataset that the labels came from."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    num_labels: int
    train_fingerprint: str
    settings: FinetuneSettings


def save_classifier(classifier: Classifier, info: ClassifierInfo, directory: str | Path) -> None:
    """Write the folder, complete or not at all.

    Raises:
        ConfigError: something stands there already.
    """
    folder = Path(directory)
    require_free(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        save_encoder(classifier.encoder, partial / ENCODER)
        save_file({name: part.contiguous() for name, part in classifier.head.state_dict().items()}, partial / HEAD)
        (partial / ABOUT).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_free(folder: Path) -> None:
    """Raise ConfigError where something stands in the place of a run to come."""
    if folder.exists():
        raise ConfigError(f"`--output`: {folder} exists; a run is never overwritten. Name another, or remove it.")


def load_classifier(directory: str | Path) -> tuple[Classifier, ClassifierInfo]:
    """Return what `save_classifier` wrote, in evaluation mode on the CPU.

    Raises:
        ConfigError: no classifier stands there.
        CorruptData: its description or head is damaged.
    """
    folder = Path(directory)
    if not (folder / ABOUT).is_file():
        raise ConfigError(f"{folder}: no fine-tuned classifier stands here ({ABOUT} is missing).")
    encoder = load_encoder(folder / ENCODER)
    try:
        info = ClassifierInfo.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
        mode = info.settings.mode
        head = make_head(encoder.num_features, len(info.classes), mode, info.settings.hidden_width)
        head.load_state_dict(load_file(folder / HEAD))
    except (ValidationError, OSError, RuntimeError, KeyError) as error:
        raise CorruptData(f"{folder}: not a fine-tuned classifier: {error}") from error
    return Classifier(encoder, head, info.classes, mode).eval(), info


def find_encoder(run: str, store_options: StoreOptions | None = None) -> tuple[Encoder, Classifier | None]:
    """Return the encoder of a run or an encoder's own folder, and the classifier where the run is a fine-tuned one.

    `run` may be in a store: then what is needed is copied to a temporary folder first.

    Raises:
        ConfigError: there is none.
    """
    store = Store.open(run, store_options)
    if store.is_local:
        return _find(Path(store.uri), run)
    with tempfile.TemporaryDirectory() as scratch:
        for key in (entry.key for page in store.list() for entry in page):
            if "/" not in key or key.startswith(f"{ENCODER}/"):
                path = Path(scratch, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.get(key))
        return _find(Path(scratch), run)


def _find(folder: Path, name: str) -> tuple[Encoder, Classifier | None]:
    if (folder / ABOUT).is_file():
        classifier, _ = load_classifier(folder)
        return classifier.encoder, classifier
    for place in (folder, folder / ENCODER):
        if (place / SPEC_FILE).is_file():
            return load_encoder(place), None
    raise ConfigError(
        f"{name}: neither a run nor an encoder: expected {SPEC_FILE} here, or {ENCODER}/{SPEC_FILE} or {ABOUT}."
    )
