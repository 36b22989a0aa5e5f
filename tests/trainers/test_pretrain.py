"""From a dataset to a run's folder, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel
from unlabeled.pipeline.errors import ConfigError, Interrupted
from unlabeled.pipeline.rng import sha256_hex
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.tokenizer import ASSET as TOKENIZER
from unlabeled.trainers import loop
from unlabeled.trainers.encoders.build import load_encoder
from unlabeled.trainers.loop import Report
from unlabeled.trainers.mixture import DataShare
from unlabeled.trainers.pretrain import prepare, pretrain_here
from unlabeled.trainers.run import result_of

from tests.loading import dataset as make_dataset
from tests.loading import turns
from tests.samples import document_item
from tests.small_datasets import jpeg
from tests.small_media import raw_media
from tests.training import Stopper, losses, settings, trained


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


@pytest.fixture(scope="module")
def run(dataset: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained(dataset, folder, settings(), [])
    return folder


def test_a_run_leaves_an_encoder_a_card_curves_and_a_result(dataset: Store, run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "run.json",
        "result.json",
        "checkpoints",
        "encoder",
        "tensorboard",
    }
    result = result_of(str(run))
    assert result is not None
    assert (result.num_steps, result.num_examples, result.world_size) == (10, 160, 1)
    assert result.data[0].fingerprint in (run / "encoder" / "README.md").read_text()


def test_the_encoder_loads_with_transformers_and_gives_the_same_outputs(run: Path) -> None:
    ours, theirs = load_encoder(run / "encoder"), AutoModel.from_pretrained(run / "encoder").eval()
    inputs = ours.preprocess(raw_media("image"))
    with torch.no_grad():
        assert torch.equal(ours(inputs).last, theirs(inputs).last_hidden_state)


def test_settings_that_do_not_fit_fail_before_anything_is_written(dataset: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a multiple of 4"):
        prepare(dataset.uri, str(tmp_path / "run"), settings(batch_size=18))
    with pytest.raises(ConfigError, match="Did you mean 'resnet-small'"):
        prepare(dataset.uri, str(tmp_path / "run"), settings(**{"encoder.name": "resnet-smal"}))
    with pytest.raises(ConfigError, match=r"`run.min_workers`: found 4, expected at most"):
        prepare(dataset.uri, str(tmp_path / "run"), settings(**{"run.num_workers": 2, "run.min_workers": 4}))
    assert not (tmp_path / "run").exists()


def test_a_mixture_of_datasets_goes_on_with_the_same_losses(dataset: Store, tmp_path: Path) -> None:
    data = [DataShare(dataset.uri, 0.75), DataShare(turns(tmp_path, 8, first=100).uri, 0.25)]
    whole: list[Report] = []
    pretrain_here(prepare(data, str(tmp_path / "whole"), settings()), report=whole.append)
    parts: list[Report] = []
    run = prepare(data, str(tmp_path / "parts"), settings())
    with pytest.raises(Interrupted):
        pretrain_here(run, report=parts.append, should_stop=Stopper(4))
    pretrain_here(prepare(data, str(tmp_path / "parts"), settings()), report=parts.append)
    assert losses(parts) == losses(whole)
    result = result_of(run.output)
    assert result is not None
    assert [(each.dataset, each.share) for each in result.data] == [(data[0].dataset, "3/4"), (data[1].dataset, "1/4")]
    assert result.num_dropped_examples_per_epoch == 0


def test_an_encoder_of_texts_has_its_tokenizer_beside_it(tmp_path: Path) -> None:
    texts = {f"{number}.txt": document_item(number).text.encode() for number in range(8)}
    store = make_dataset(tmp_path, "text_masked_tokens", texts, vocab_size=400, seq_length=32)
    trained(store, tmp_path / "run", settings(num_epochs=1, **{"batch_size": 4, "encoder.name": "bert-tiny"}), [])
    frozen = (tmp_path / "run" / "encoder" / TOKENIZER).read_bytes()
    assert load_encoder(tmp_path / "run" / "encoder").spec.tokenizer_sha256 == sha256_hex(frozen)


@pytest.mark.gpu
def test_on_a_gpu_a_run_learns_in_bfloat16_and_leaves_an_encoder_that_loads_on_a_cpu(
    dataset: Store, tmp_path: Path
) -> None:
    reports: list[Report] = []
    result = trained(dataset, tmp_path / "run", settings(num_epochs=20, **{"compute.precision": "auto"}), reports)
    assert (result.compute["device"], result.compute["precision"]) == ("cuda:0", "bfloat16")
    assert losses(reports)[-1] < losses(reports)[0]
    assert load_encoder(tmp_path / "run" / "encoder").spec.name == "resnet-small"


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("image_rotation", {"encoder.name": "resnet-small"}),
        ("image_rotation", {"encoder.name": "vit-mini", "ema_decay": 0.9}),
        ("image_masked_patches", {"encoder.name": "vit-mini"}),
        ("image_colorization", {"encoder.name": "resnet-small"}),
    ],
)
def test_on_a_gpu_no_step_waits_for_the_device(
    task: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that waits launches nothing meanwhile, and then the device waits for it."""
    train_step = loop._Training._train_step

    def strict(self: Any, batch: Any, meter: Any) -> None:
        # The first step makes what later ones find on the device.
        torch.cuda.set_sync_debug_mode("error" if batch.step else "default")
        try:
            train_step(self, batch, meter)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop._Training, "_train_step", strict)
    store = make_dataset(tmp_path, task, {f"{n}.jpg": jpeg(n, 96, 90) for n in range(24)}, side_px=64)
    trained(store, tmp_path / "run", settings(**{"batch_size": 4, "run.log_steps": 3, **changes}), [])
