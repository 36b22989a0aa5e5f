"""Settings of training runs: what `--config` files and `--set` can say, with units, defaults and bounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .augment import AugmentSettings


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimizerSettings(_Settings):
    """How weights move."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with Nesterov momentum")
    learning_rate: float | None = Field(
        None, gt=0, description="at its peak; default 0.1 (sgd) or 1e-3 (adamw) for a batch of 256, times batch / 256"
    )
    weight_decay: float | None = Field(None, ge=0, description="default 5e-4 (sgd) or 0.05 (adamw); never of biases")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    beta_2: float = Field(0.95, gt=0, lt=1, description="of adamw: memory of squared gradients")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the examples in which the rate rises")
    final_fraction: float = Field(0.0, ge=0, le=1, description="share of the peak where the run ends")
    clip_norm: float = Field(0.0, ge=0, description="gradients are scaled down to this norm; 0: never")


class ObjectiveSettings(_Settings):
    """Head and loss; each objective reads what concerns it."""

    masked_style: Literal["auto", "mae", "simmim"] = Field(
        "auto", description="mae: the encoder sees visible patches only (transformers); simmim: all, hidden ones blank"
    )
    decoder_width: int = Field(192, ge=8, multiple_of=8, description="of the MAE decoder")
    decoder_blocks: int = Field(2, ge=1, description="of the MAE decoder")
    head_width: int = Field(512, ge=8, description="of the layer between several views and the prediction")
    projection_width: int = Field(128, ge=8, description="of the space in which contrastive pairs are compared")
    temperature: float = Field(0.1, gt=0, description="of the contrastive softmax")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of classification")


class ComputeSettings(_Settings):
    """How it is computed; `auto` follows the device and is reported."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast where the device computes in it"
    )
    channels_last: Literal["auto", "yes", "no"] = Field("auto", description="memory layout of convolutional nets")
    compile: bool = Field(False, description="torch.compile each block; pays off in long runs on GPUs")
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="with several workers: whole copies, or FSDP2 shards")
    micro_batch_size: int | None = Field(
        None, ge=1, description="examples on a device at a time; more are accumulated; default the whole share"
    )
    num_loader_processes: int | None = Field(
        None,
        ge=0,
        description="that read and decode beside each worker; 0: its own threads; default: as many as its CPUs allow "
        "where it has a GPU, else 0",
    )
    num_loader_threads: int = Field(2, ge=1, description="that decode, in each of these processes")


class RunSettings(_Settings):
    """Where a run takes place; none of it changes what is learnt but for rounding."""

    num_workers: int = Field(1, ge=0, description="Ray Train workers; 0: in this process, without Ray")
    cpus_per_worker: float | None = Field(None, gt=0, description="default: as many as fit for each")
    num_cpus: int | None = Field(None, ge=1, description="CPUs of a local Ray; default all")
    address: str | None = Field(None, description="address of a Ray cluster; default a local Ray")
    max_failures: int = Field(3, ge=-1, description="how often workers are started again after one died; -1: always")
    start_seconds: float = Field(
        0.0, ge=0, description="how long room for all workers is waited for at first: an autoscaler brings machines"
    )
    min_workers: int | None = Field(
        None, ge=1, description="fewest workers to go on with once a machine is lost; default: all"
    )
    replacement_seconds: float = Field(
        600.0, ge=0, description="how long a lost machine's replacement is waited for, before fewer workers go on"
    )
    checkpoint_seconds: float = Field(300.0, ge=0, description="time between checkpoints")
    checkpoint_steps: int | None = Field(None, ge=1, description="steps between checkpoints, instead of a time")
    keep_checkpoints: int = Field(2, ge=1, description="newest ones that are kept")
    log_steps: int = Field(20, ge=1, description="steps between reports")


class PretrainSettings(_Settings):
    """The settings of `pretrain`. All but `run` decide the result and are frozen when a run begins."""

    seed: int = Field(0, ge=0, lt=2**63, description="keys weights, order, masks and augmentation")
    num_epochs: float = Field(10.0, gt=0, description="passes over the train split")
    batch_size: int = Field(256, ge=1, description="examples of a step, over all workers")
    num_lanes: int = Field(24, ge=1, description="see the loader; world sizes must divide it")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="of a running mean of the weights, which is saved; 0: none")
    validate_every_epochs: float = Field(1.0, ge=0, description="epochs between validations; 0: at the end alone")
    encoder: dict[str, Any] = Field(
        default_factory=dict, description="name and fields of EncoderSpec; default by what the dataset holds"
    )
    audio_encoder: dict[str, Any] = Field(
        default_factory=dict, description="the same for the sound, where pictures and sound are compared"
    )
    objective: ObjectiveSettings = ObjectiveSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: AugmentSettings = AugmentSettings()
    compute: ComputeSettings = ComputeSettings()
    run: RunSettings = RunSettings()
