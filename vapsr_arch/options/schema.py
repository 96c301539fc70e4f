"""The option files' sections and keys: everything that BasicSR's training and testing and this plugin read.

Sections that name a class or a function by `type` (`network_g`, the losses, the metrics, optimizers and schedulers of torch)
take that callable's arguments; `vapsr_arch.pipeline.checks` compares them with its signature. Where a class is none that this
package knows, its section is open: a model class may read keys of its own at the top and under `train`, a data set any;
one that is derived from a data set of this package has those of that one checked, too.

The defaults here are those that the code takes for a key that is not given; `None` stands for none. The texts below the keys
are the documentation: docs/options.md, options/schema.json.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from vapsr_arch.options.keys import (
    Fraction,
    Gpus,
    OffAsText,
    Phase,
    Positive,
    Roots,
    Section,
    Typed,
    WarmUp,
    Whole,
    by_type,
    file_name,
    whole,
)

OWN_MODELS = ('VapSRModel', 'SRModel')
OWN_DATASETS = ('PairedImageDataset', 'CheckedPairedImageDataset', 'PairedPackDataset', 'SingleImageDataset',
                'CheckedSingleImageDataset')
_STEPS = ('MultiStepLR', 'MultiStepRestartLR')
_COSINE = ('CosineAnnealingRestartLR',)
BASICSR_SCHEDULERS = (*_STEPS, *_COSINE)
_OWN_OPTIMIZERS = ('Adam', 'AdamW')


def losses_of(train: Mapping[str, Any]) -> dict[str, Any]:
    """The losses of a `train` section: BasicSR's keys that end in `_opt`."""
    return {key: value for key, value in train.items() if key.endswith('_opt')}


class IOBackend(Section):
    type: Literal['disk', 'lmdb']
    """`disk` for folders of images, `lmdb` for LMDBs as `vapsr data lmdb` writes them."""


class ForeignDataset(BaseModel):
    """A data set of another class: the keys that the loader reads are checked, all others are that class's own."""

    model_config = ConfigDict(strict=True, extra='allow', allow_inf_nan=False, use_attribute_docstrings=True)
    name: file_name(100)
    """The set's name in logs, results and the best checkpoints; two sets of a file have two names."""
    type: str
    """`PairedImageDataset` (folders, lists, LMDBs), `PairedPackDataset` (packs), `SingleImageDataset` (tests without ground
    truth), or any class that is registered."""
    num_worker_per_gpu: whole(0, 1024) | None = None
    """Processes that read images, for each GPU; 0 reads in the training process. Required for training."""
    batch_size_per_gpu: Positive | None = None
    """Samples of an iteration, for each GPU. Required for training."""
    dataset_enlarge_ratio: whole(1, 100_000) = 1
    """How often each image is drawn in an epoch; for small sets, which would start a new epoch too often."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """`cuda` copies the next batch to the GPU while this one is worked on, and is what a GPU uses if nothing is given; `cpu`
    reads in a thread, `num_prefetch_queue` batches ahead. Workers read ahead on their own."""
    num_prefetch_queue: Positive | None = 1
    """Batches that `prefetch_mode: cpu` reads ahead."""
    pin_memory: bool | None = None
    """Put batches into page-locked memory, which is copied to a GPU faster; `true` on a GPU if not given."""
    persistent_workers: bool | None = False
    """Keep the reading processes from one epoch to the next."""


class Dataset(ForeignDataset, Section):
    """A data set of this package. `PairedPackDataset` has neither `io_backend` nor `meta_info_file`."""

    dataroot_gt: str | None = None
    """The HR images: a folder, an LMDB or a pack."""
    dataroot_lq: Roots | None = None
    """The LR images: a folder, an LMDB or a pack. To train with `PairedPackDataset`, also a list of packs, such as degraded
    variants, each with all images: a sample is taken from one of them at random."""
    meta_info_file: str | None = None
    """A text file with the names of the HR images to use, one per line."""
    filename_tmpl: str | None = '{}'
    """How an LR image is called, where `{}` is the HR image's name: `{}x4` for DIV2K's."""
    io_backend: IOBackend | None = None
    """How images are stored; required for all but `PairedPackDataset`."""
    color: Literal['y'] | None = None
    """`y`: luma alone, for networks of one channel; RGB if not given."""
    mean: list[float] | None = None
    """What is subtracted from each channel, before it is divided by `std`."""
    std: list[Annotated[float, Field(gt=0)]] | None = None
    """What each channel is divided by."""
    gt_size: Positive | None = None
    """Side of the HR crops to train on, in pixels: a multiple of the scale. Required for training."""
    use_hflip: bool | None = None
    """Flip samples at random. Required for training."""
    use_rot: bool | None = None
    """Rotate samples by multiples of 90 degrees at random. Required for training."""
    channel_permutation: Fraction | None = 0
    """The probability that a sample's channels are permuted."""
    negative: Fraction | None = 0
    """The probability that a sample is replaced by its negative."""
    use_shuffle: bool | None = None
    """Not used; BasicSR's option files have it."""


class DerivedDataset(Dataset):
    """A data set of a class derived from one of this package: it may have keys of its own beside those of that one."""

    for_models: ClassVar[bool] = True


class Paths(Section):
    for_models: ClassVar[bool] = True
    prefixes: ClassVar[tuple[str, ...]] = ('pretrain_network_', 'strict_load_', 'param_key_')
    pretrain_network_g: str | None = None
    """The checkpoint to start from or to test: `.pth` or `.safetensors`, weights alone or under any usual key."""
    strict_load_g: bool | None = True
    """`false` loads the tensors that fit, and is refused if none does."""
    param_key_g: str | None = None
    """The key of the weights; if not given, the EMA's if the file has one. Keys within keys are joined by dots."""
    resume_state: str | None = None
    """A `.state` file to resume from; `--auto_resume` finds the newest one."""
    ignore_resume_networks: list[str] | None = None
    """Networks, such as `[network_g]`, that a resumed run takes from `pretrain_network_g`, not from its own checkpoint."""


class Optimizer(Section):
    """Adam or AdamW, in torch's fused form. Any other optimizer of `torch.optim` takes the arguments of its class."""

    type: Literal['Adam', 'AdamW']
    """`Adam`, `AdamW`, or any optimizer of `torch.optim` that takes a gradient step."""
    lr: Annotated[float, Field(gt=0)]
    """The learning rate."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = Field([0.9, 0.999])
    """The decay of the running means of the gradient and of its square."""
    eps: Annotated[float, Field(gt=0)] | None = 1e-8
    """What is added to the denominator."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """The weight decay; if not given torch's: 0 for Adam, 0.01 for AdamW."""
    amsgrad: bool | None = False
    """Use AMSGrad."""


class MultiStep(Section):
    """The learning rate is multiplied by `gamma` at each of the `milestones`."""

    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    """BasicSR's `MultiStepLR`, `MultiStepRestartLR` (the same) and `CosineAnnealingRestartLR`, or any scheduler of
    `torch.optim.lr_scheduler`, which is stepped once per iteration."""
    milestones: list[Whole]
    """Iterations."""
    gamma: float | None = 0.1
    """The factor."""
    restarts: list[Whole] | None = Field([0])
    """Iterations at which the learning rate starts again."""
    restart_weights: list[float] | None = Field([1])
    """The share of the learning rate that each restart begins with."""


class CosineRestart(Section):
    """The learning rate follows a cosine down to `eta_min`, once in each of the `periods`."""

    type: Literal['CosineAnnealingRestartLR']
    """`CosineAnnealingRestartLR`."""
    periods: Annotated[list[Positive], Field(min_length=1)]
    """The lengths of the cosines, in iterations: together at least `total_iter`."""
    restart_weights: list[float] | None = Field([1])
    """The share of the learning rate that each period begins with."""
    eta_min: Annotated[float, Field(ge=0)] | None = 0
    """The learning rate that each period ends with."""


class NanGuard(Section):
    """A step is bad, and skipped, if its loss or gradients are not finite, or its loss is far above the running median."""

    patience: Positive | None = 10
    """Bad steps in a row, after which the run returns to its last good state."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """What the learning rate is multiplied by when the run returns."""
    max_rollbacks: Whole | None = 3
    """How often the run may return; the next time it ends with an error."""
    spike_factor: Annotated[float, Field(gt=1)] | None = 10
    """A loss above this many times the median of the last 100 losses is far above it."""


class Train(Section):
    """How to train. Any key that ends in `_opt` is a loss, which is called with output and ground truth."""

    suffixes: ClassVar[tuple[str, ...]] = ('_opt',)
    prefixes: ClassVar[tuple[str, ...]] = ('optim_', 'net_d_')
    for_models: ClassVar[bool] = True
    amp: Annotated[Literal['off', 'bf16', 'fp16'], OffAsText] | None = 'off'
    """The forward pass in half precision, the weights in float32; `fp16` scales the loss. For GPUs: no gain on a CPU."""
    accumulate: Positive | None = 1
    """Process the batch in this many parts and add up their gradients: the same result with the memory of one part. It must
    divide `batch_size_per_gpu`; `total_iter` and the schedules count as without it."""
    grad_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """The largest norm of all gradients together: larger ones are scaled down to it."""
    compile: bool | None = False
    """Use `torch.compile`, which takes minutes at the start: for long runs."""
    channels_last: bool | None = True
    """The memory format of the weights, and with it that of the features."""
    nan_guard: NanGuard | None = NanGuard()
    """The guard against divergence: bad steps are skipped, and after several the run returns to its last good state."""
    ema_decay: Fraction | None = 0
    """The decay of the moving average of the weights, which validation and tests use; 0: no average. The papers have 0.999."""
    freeze: list[str] | None = None
    """Parameters of these names are not trained; with wildcards as in a shell, such as `[conv_first.*]`."""
    optim_g: Annotated[Annotated[Optimizer, Tag('own')] | Annotated[Typed, Tag('foreign')],
                       by_type({'own': _OWN_OPTIMIZERS}, 'own')]
    """The optimizer."""
    scheduler: Annotated[Annotated[MultiStep, Tag('steps')] | Annotated[CosineRestart, Tag('cosine')]
                         | Annotated[Typed, Tag('foreign')], by_type({'steps': _STEPS, 'cosine': _COSINE}, 'steps')]
    """How the learning rate changes."""
    total_iter: Positive
    """Iterations to train for."""
    warmup_iter: WarmUp | None = -1
    """Iterations over which the learning rate rises from 0; -1: none."""
    pixel_opt: Typed | None = None
    """The loss on pixels, such as `{type: L1Loss, loss_weight: 1.0, reduction: mean}`."""
    perceptual_opt: Typed | None = None
    """The loss on features of VGG, BasicSR's `PerceptualLoss`."""


class Metric(Typed):
    """A metric, with its arguments. These two are BasicSR's; others have more."""

    crop_border: Annotated[int, Field(ge=0)] = None
    """Pixels at each edge that are left out: the scale, in most papers."""
    test_y_channel: bool = None
    """Measure on Y of YCbCr, as MATLAB's `rgb2ycbcr` has it."""


class Validation(Section):
    """How to validate and to test; may be left out."""

    val_freq: Positive | None = None
    """Iterations from one validation to the next. Required for training."""
    save_img: bool | None = False
    """Save the upscaled images."""
    suffix: file_name(100) | None = None
    """What is added to their names; the run's name if not given."""
    pbar: bool | None = False
    """Show a progress bar."""
    self_ensemble: bool | None = False
    """Test with the mean over eight flips and rotations, eight times as slow."""
    tile: Positive | None = None
    """Test in tiles of this many LR pixels a side, which takes less memory. The result is the same, but for float rounding. Not
    for networks whose output depends on the whole image: IMDN, RFDN, BSRN, BSRN_S."""
    metrics: dict[file_name(100), Metric] | None = None
    """Metrics by a name of your choice, such as `psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: true}`. `better:
    lower` is for metrics of your own that are errors."""


class Wandb(Section):
    """Weights & Biases; it follows TensorBoard's curves, so `use_tb_logger` must be true."""

    project: str | None = None
    """The project; if not given, wandb is not used."""
    resume_id: str | None = None
    """The run to continue."""
    entity: str | None = None
    """Not used; BasicSR's option files have it."""


class Logger(Section):
    """What is logged and saved, and how often; required for training."""

    print_freq: Positive
    """Iterations from one line of the log to the next."""
    save_checkpoint_freq: Positive
    """Iterations from one checkpoint and training state to the next."""
    keep_last: Positive | None = None
    """How many iterations' checkpoints and states to keep; all if not given."""
    use_tb_logger: bool | None = False
    """Write TensorBoard files to `tb_logger/NAME`."""
    wandb: Wandb | None = None
    """Weights & Biases."""


class Distributed(Section):
    """Several processes."""

    backend: Literal['nccl', 'gloo'] | None = None
    """Not used: GPUs use NCCL and CPUs Gloo, whatever it says. BasicSR's option files have it."""
    port: whole(0, 65535) | None = 29500
    """Where rank 0 listens, with `--launcher slurm`; torchrun has `--master-port`."""
    timeout: Positive | None = 300
    """Seconds that a process waits for another one before it ends with an error."""


class Options(Section):
    """An option file."""

    for_models: ClassVar[bool] = True
    prefixes: ClassVar[tuple[str, ...]] = ('network_',)
    name: file_name(200)
    """The run's name: results go to `experiments/NAME` and `results/NAME`."""
    model_type: str
    """`VapSRModel`, which also stands for `SRModel`; or any model that is registered, such as BasicSR's `ESRGANModel`."""
    plugins: list[str] | None = None
    """Modules and files to import first, which register networks, losses, data sets, models and metrics. Their code runs."""
    scale: Positive
    """HR size over LR size."""
    num_gpu: Gpus = 'auto'
    """`auto`: one GPU if there is one (under torchrun, each process its own), else the CPU; 0: the CPU."""
    manual_seed: Whole | None = None
    """The seed of all random numbers; a random one if not given, which the log names."""
    deterministic: bool | None = False
    """The same bytes from the same run on one GPU, which is slower then; on a CPU always."""
    datasets: Annotated[dict[Phase, Annotated[
        Annotated[Dataset, Tag('own')] | Annotated[ForeignDataset, Tag('foreign')], by_type({'own': OWN_DATASETS}, 'own')]],
        Field(min_length=1)]
    """The data sets: `train` and `val`, `val_1`, ... in a training file, `test`, `test_1`, ... in a test file."""
    network_g: Typed
    """The network: `VapSR`, `IMDN`, `RFDN`, `BSRN`, `BSRN-S`, `PAN`, `PixelAttentionRoadmap`, one of BasicSR's or of a plugin's,
    `path/to/file.py:ClassName`, or `Spandrel`, which recognises the checkpoint's. `img_range: 255` and `size_multiple` are for
    networks of other repositories."""
    path: Paths | None = None
    """Checkpoints."""
    train: Train | None = None
    """How to train; required for training."""
    val: Validation | None = None
    """How to validate and to test."""
    logger: Logger | None = None
    """What is logged and saved; required for training."""
    dist_params: Distributed | None = None
    """Several processes."""
    find_unused_parameters: bool | None = False
    """For networks whose forward pass does not use all parameters, with several processes."""
    suffix: str | None = None
    """Not used; BSRN's authors write it."""
    crop_border: Whole | None = None
    """Not used; BSRN's authors write it."""
