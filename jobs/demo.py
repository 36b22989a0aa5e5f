"""`unlabeled demo`: from media to a dataset, and with torch on to an encoder and what it is worth."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from ..pipeline.materialize import Progress
from .config import Settings
from .materialize import Materialize

_SIDE_PX = 32
#: The same in both datasets, so that what is tested on is never pretrained on.
_VAL_FRACTION = 0.25
_NUM_EPOCHS = 25
_LABELS_PER_CLASS, _NUM_DRAWS, _NUM_STEPS, _BATCH_SIZE = (5, 20), 3, 100, 32
#: What `rotation` sets, as the command line says it.
OPTIONS = f" --set task.side_px={_SIDE_PX} --set val_fraction={_VAL_FRACTION}"


def can_train() -> bool:
    """Return whether what training needs is installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers", "safetensors", "scipy"))


def rotation(media: str, output: str) -> Materialize:
    """Return what makes the rotation dataset of rendered photographs, in a size that two cores can train on."""
    task = {"image_rotation": {"side_px": _SIDE_PX}}
    return Materialize(["image_rotation"], media, output, Settings(val_fraction=_VAL_FRACTION), task)


def train(dataset: str, media: str, folder: Path, progress: Progress, say: Callable[[str], None]) -> Path:
    """Pretrain on a dataset of photographs that lie in folders named by class, fine-tune, and compare.

    Returns the few-label page. What stands in `folder` already is not made again.
    """
    run, labelled, page = str(folder / "run"), str(folder / "labelled"), folder / "few-label.html"
    say(
        f"$ unlabeled materialize --task labelled_media --input {media} --output {labelled} "
        f"--set task.label_from=folder{OPTIONS}"
    )
    task = {"labelled_media": {"label_from": "folder", "side_px": _SIDE_PX}}
    Materialize(["labelled_media"], media, labelled, Settings(val_fraction=_VAL_FRACTION), task).run(progress)
    _pretrain(dataset, run, say)
    _finetune(run, labelled, str(folder / "classifier"), say)
    if not page.exists():
        _compare(run, labelled, page, progress, say)
    return page


def _pretrain(dataset: str, run: str, say: Callable[[str], None]) -> None:
    from ..trainers.config import PretrainSettings
    from .pretrain import Pretrain

    say(
        f"$ unlabeled pretrain --data {dataset} --output {run} --epochs {_NUM_EPOCHS} --num-workers 0 "
        "--encoder resnet-small --set optimizer.name=sgd"
    )
    settings = PretrainSettings.model_validate(
        {
            "num_epochs": _NUM_EPOCHS,
            "validate_every_epochs": 0,
            "encoder": {"name": "resnet-small"},
            "optimizer": {"name": "sgd"},
            "run": {"num_workers": 0},
        }
    )
    result = Pretrain(dataset, run, settings).run()
    say(f"  {result.encoder}: {result.metrics['val_accuracy']:.0%} of held-out turns told right\n")


def _finetune(run: str, labelled: str, output: str, say: Callable[[str], None]) -> None:
    from ..trainers.finetune import FinetuneSettings
    from .finetune import finetune

    if Path(output).exists():
        return
    few = max(_LABELS_PER_CLASS)
    say(
        f"$ unlabeled finetune --run {run} --data {labelled} --output {output} --labels-per-class {few} "
        f"--set num_steps={_NUM_STEPS} --set batch_size={_BATCH_SIZE}"
    )
    settings = FinetuneSettings(num_steps=_NUM_STEPS, batch_size=_BATCH_SIZE)
    tuned = finetune(run, labelled, output, labels_per_class=few, settings=settings)
    say(f"  {tuned.num_labels} labels: {tuned.scores.accuracy:.0%} of {tuned.num_test} test photographs told right\n")


def _compare(run: str, labelled: str, page: Path, progress: Progress, say: Callable[[str], None]) -> None:
    from ..trainers.few_label import FewLabelSettings
    from ..trainers.finetune import FinetuneSettings
    from .evaluate import few_label

    counts = ",".join(map(str, _LABELS_PER_CLASS))
    say(
        f"$ unlabeled evaluate {run} --data {labelled} --few-label {counts} --seeds {_NUM_DRAWS} --out {page} "
        f"--set finetune.num_steps={_NUM_STEPS} --set finetune.batch_size={_BATCH_SIZE} --set learning_rates=[0.004] "
        f"--set max_steps={2 * _NUM_STEPS}"
    )
    settings = FewLabelSettings(
        labels_per_class=_LABELS_PER_CLASS,
        num_draws=_NUM_DRAWS,
        learning_rates=(4e-3,),
        max_steps=2 * _NUM_STEPS,
        finetune=FinetuneSettings(num_steps=_NUM_STEPS, batch_size=_BATCH_SIZE),
    )
    report = few_label(run, labelled, out=page, settings=settings, progress=progress)
    shown = [gain for gain in report.gains if gain.baseline in ("from scratch", "linear probe, random init")]
    for gain in shown:
        at, text = gain.difference, f"  {gain.labels_per_class:>3} labels a class: {gain.method} less {gain.baseline}"
        say(f"{text} {100 * at.mean:+.1f} points [{100 * at.low:+.1f}, {100 * at.high:+.1f}]")
