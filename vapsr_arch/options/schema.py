"""The option files' sections and keys: everything that BasicSR's training and testing and this plugin read.

Sections that name a class or a function by `type` (`network_g`, the losses, the metrics, optimizers and schedulers of torch)
take that callable's arguments; `vapsr_arch.pipeline.checks` compares them with its signature. Where a class is none that this
package knows, its section is open: a model class may read keys of its own at the top and under `train`, a data set any.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError


def _whole(value: Any) -> Any:
    """The field writes iteration counts as `!!float 5e3`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _name(longest: int) -> Any:
    """Text that files and folders are named by, of at most so many bytes: room is left for what is added to it."""
    def checked(value: str) -> str:
        fault = None
        if value in ('', '.', '..') or not value.isprintable() or {'/', '\\'} & set(value):
            fault = 'must be a name: without / and \\, line breaks and control characters, and not empty, . or ..'
        elif len(value.encode()) > longest:
            fault = f'must have at most {longest} bytes, for files are named by it'
        if fault:
            raise PydanticCustomError('name', fault)
        return value
    return Annotated[str, AfterValidator(checked)]


def _gpus(value: Any) -> Any:
    """`auto`, or how many GPUs."""
    if value != 'auto' and (type(_whole(value)) is not int or value < 0):
        raise PydanticCustomError('num_gpu', 'must be a whole number from 0 on, or auto')
    return _whole(value)


def _phase(value: Any) -> Any:
    """What a data set is for, as its key under `datasets` says."""
    if not isinstance(value, str) or not re.fullmatch(r'train|(val|test)(_.+)?', value):
        raise PydanticCustomError('phase', 'a data set is named train, val, val_1, ..., or test, test_1, ...')
    return value


OWN_MODELS = ('VapSRModel', 'SRModel')
OWN_DATASETS = ('PairedImageDataset', 'CheckedPairedImageDataset', 'PairedPackDataset', 'SingleImageDataset',
                'CheckedSingleImageDataset')
BASICSR_SCHEDULERS = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')
_OWN_OPTIMIZERS = ('Adam', 'AdamW')
_MISSPELT = 0.8  # how much a key of a model class of others must look like one of ours to count as that, misspelt


def losses_of(train: Mapping[str, Any]) -> dict[str, Any]:
    """The losses of a `train` section: BasicSR's keys that end in `_opt`."""
    return {key: value for key, value in train.items() if key.endswith('_opt')}


class Section(BaseModel):
    """A section whose keys are known, but for those that end or begin as `families` say, and where it is open.

    A section that a model class of others may add to is open if the validation's context says that the model is one.
    """

    model_config = ConfigDict(strict=True, extra='allow', allow_inf_nan=False)
    suffixes: ClassVar[tuple[str, ...]] = ()
    prefixes: ClassVar[tuple[str, ...]] = ()  # of keys that belong to models of others
    for_models: ClassVar[bool] = False

    @model_validator(mode='before')
    @classmethod
    def known_keys(cls, value: Any, info: ValidationInfo) -> Any:
        unknown = [key for key in value if key not in cls.model_fields] if isinstance(value, Mapping) else []
        if cls.suffixes:
            unknown = [key for key in unknown if not (isinstance(key, str) and key.endswith(cls.suffixes))]
        if cls.for_models and (info.context or {}).get('open'):
            # Beside the right key, another one is meant.
            absent = [key for key in cls.model_fields if unknown and value.get(key) is None]
            unknown = [key for key in unknown if not isinstance(key, str) or (
                not key.startswith(cls.prefixes or ('\0',)) and difflib.get_close_matches(key, absent, 1, _MISSPELT))]
        if unknown:
            raise PydanticCustomError('unknown_keys', 'unknown keys', {'unknown': unknown, 'known': list(cls.model_fields)})
        return value


class Typed(BaseModel):
    """A callable by its registered name, with its arguments."""

    model_config = ConfigDict(strict=True, extra='allow')
    type: str


class IOBackend(Section):
    type: Literal['disk', 'lmdb']


class ForeignDataset(BaseModel):
    """A data set of another class: the keys that the loader reads are checked, all others are that class's own."""

    model_config = ConfigDict(strict=True, extra='allow', allow_inf_nan=False)
    name: _name(100)
    type: str
    num_worker_per_gpu: Whole | None = None
    batch_size_per_gpu: Positive | None = None
    dataset_enlarge_ratio: Positive = 1
    # cuda copies the next batch to the GPU while this one is worked on, and is what a GPU uses if nothing is given; cpu reads
    # in a thread, num_prefetch_queue batches ahead. Workers read ahead on their own.
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: Positive | None = None
    pin_memory: bool | None = None
    persistent_workers: bool | None = None


class Dataset(ForeignDataset, Section):
    dataroot_gt: str | None = None
    dataroot_lq: str | None = None
    meta_info_file: str | None = None
    filename_tmpl: str | None = None
    io_backend: IOBackend | None = None  # a PairedPackDataset has none
    color: Literal['y'] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    gt_size: Positive | None = None
    use_hflip: bool | None = None
    use_rot: bool | None = None
    channel_permutation: Fraction | None = None  # the probability that a sample's channels are permuted; 0 if not given
    negative: Fraction | None = None  # the probability that a sample is turned into its negative; 0 if not given
    use_shuffle: bool | None = None  # no code reads it; the field's option files have it


def _kind(own: tuple[str, ...]) -> Any:
    """Distinguishes sections by whether their `type` is one of this package's."""
    def kind_of(value: Any) -> str:
        kind = value.get('type') if isinstance(value, Mapping) else getattr(value, 'type', None)
        return 'foreign' if isinstance(kind, str) and kind not in own else 'own'
    return Discriminator(kind_of)


class Paths(Section):
    for_models: ClassVar[bool] = True
    prefixes: ClassVar[tuple[str, ...]] = ('pretrain_network_', 'strict_load_', 'param_key_')
    pretrain_network_g: str | None = None
    strict_load_g: bool | None = None
    param_key_g: str | None = None
    resume_state: str | None = None
    ignore_resume_networks: list[str] | None = None


class Optimizer(Section):
    type: Literal['Adam', 'AdamW']
    lr: Annotated[float, Field(gt=0)]
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    eps: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    amsgrad: bool | None = None


class MultiStep(Section):
    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    milestones: list[Whole]
    gamma: float | None = None
    restarts: list[Whole] | None = None
    restart_weights: list[float] | None = None


class CosineRestart(Section):
    type: Literal['CosineAnnealingRestartLR']
    periods: Annotated[list[Positive], Field(min_length=1)]
    restart_weights: list[float] | None = None
    eta_min: Annotated[float, Field(ge=0)] | None = None


def _off(value: Any) -> Any:
    """YAML 1.1 reads `off` as false."""
    return 'off' if value is False else value


def _scheduler_kind(value: Any) -> str:
    kind = value.get('type') if isinstance(value, Mapping) else getattr(value, 'type', None)
    if kind == 'CosineAnnealingRestartLR':
        return 'cosine'
    return 'foreign' if isinstance(kind, str) and kind not in BASICSR_SCHEDULERS else 'steps'


class NanGuard(Section):
    """A step is bad, and skipped, if its loss or gradients are not finite, or its loss far above the running median."""

    patience: Positive | None = None  # bad steps in a row, after which the run goes back to its last good state; 10
    lr_factor: Annotated[float, Field(gt=0, le=1)] | None = None  # which the learning rate is multiplied with then; 0.5
    max_rollbacks: Whole | None = None  # the run ends with an error when it would go back once more; 3
    spike_factor: Annotated[float, Field(gt=1)] | None = None  # how far above the median of 100 losses is far; 10


class Train(Section):
    suffixes: ClassVar[tuple[str, ...]] = ('_opt',)
    prefixes: ClassVar[tuple[str, ...]] = ('optim_', 'net_d_')
    for_models: ClassVar[bool] = True
    # The forward pass in half precision, the weights in float32; fp16 scales the loss. For GPUs: no gain on a CPU.
    amp: Annotated[Literal['off', 'bf16', 'fp16'], BeforeValidator(_off)] | None = None
    # Works the batch of an iteration through in so many parts and adds up their gradients: the same result to float
    # rounding, with the memory of a part. Divides batch_size_per_gpu; total_iter and the schedules count as without it.
    accumulate: Positive | None = None
    grad_clip_norm: Annotated[float, Field(gt=0)] | None = None  # scales gradients of a larger norm, over all tensors, to it
    compile: bool | None = None  # torch.compile: minutes at the start, for long runs
    channels_last: bool | None = None  # the weights' memory format, and with it that of the features; true if not given
    nan_guard: NanGuard | None = None  # on with its defaults if not given
    ema_decay: Fraction | None = None
    freeze: list[str] | None = None  # parameters of these names are not trained; wildcards as in a shell: [conv_first.*]
    optim_g: Annotated[Annotated[Optimizer, Tag('own')] | Annotated[Typed, Tag('foreign')], _kind(_OWN_OPTIMIZERS)]
    scheduler: Annotated[Annotated[MultiStep, Tag('steps')] | Annotated[CosineRestart, Tag('cosine')]
                         | Annotated[Typed, Tag('foreign')], Discriminator(_scheduler_kind)]
    total_iter: Positive
    warmup_iter: Annotated[int, BeforeValidator(_whole), Field(ge=-1)] | None = None
    pixel_opt: Typed | None = None
    perceptual_opt: Typed | None = None


class Validation(Section):
    val_freq: Positive | None = None
    save_img: bool | None = None
    suffix: _name(100) | None = None
    pbar: bool | None = None
    self_ensemble: bool | None = None  # test with the mean over eight flips and rotations, eight times as slow
    # Test in tiles of so many LR pixels, which takes less memory: the same result to float rounding, for networks whose output
    # depends on a part of the image alone (not IMDN, RFDN, BSRN).
    tile: Positive | None = None
    metrics: dict[_name(100), Typed] | None = None


class Wandb(Section):
    project: str | None = None
    resume_id: str | None = None
    entity: str | None = None


class Logger(Section):
    print_freq: Positive
    save_checkpoint_freq: Positive
    keep_last: Positive | None = None  # how many iterations' checkpoints and states to keep; all if not given
    use_tb_logger: bool | None = None
    wandb: Wandb | None = None


class Distributed(Section):
    backend: Literal['nccl', 'gloo'] | None = None  # in the authors' files; GPUs use NCCL and CPUs Gloo whatever it says
    port: Whole | None = None  # where rank 0 listens, with --launcher slurm; torchrun has --master-port
    timeout: Positive | None = None  # seconds that a process waits for another one before it ends with an error; 300


class Options(Section):
    for_models: ClassVar[bool] = True
    prefixes: ClassVar[tuple[str, ...]] = ('network_',)
    name: _name(200)
    model_type: str
    plugins: list[str] | None = None  # modules and files to import first, which register networks, losses, data sets, ...
    scale: Positive
    num_gpu: Annotated[int | str, BeforeValidator(_gpus)] = 'auto'
    manual_seed: Whole | None = None
    deterministic: bool | None = None  # the same bytes from the same run on one GPU, which is slower then; on a CPU always
    datasets: Annotated[dict[Annotated[str, BeforeValidator(_phase)], Annotated[
        Annotated[Dataset, Tag('own')] | Annotated[ForeignDataset, Tag('foreign')], _kind(OWN_DATASETS)]], Field(min_length=1)]
    network_g: Typed
    path: Paths | None = None
    train: Train | None = None
    val: Validation | None = None
    logger: Logger | None = None
    dist_params: Distributed | None = None
    find_unused_parameters: bool | None = None
    suffix: str | None = None  # no code reads these two; BSRN's authors write them
    crop_border: Whole | None = None
