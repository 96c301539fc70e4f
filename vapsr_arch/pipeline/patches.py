"""The table of what is replaced in BasicSR 1.4.2 while `vapsr train` or `vapsr test` runs, and why.

Nothing else of BasicSR is touched. What has to come before its import is in `vapsr_arch.pipeline.imports`.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from vapsr_arch.data.prefetch import CUDAPrefetcher, Prefetcher
from vapsr_arch.models.progress import TrainingLog
from vapsr_arch.pipeline import basicsr_models, loaders, logs, prepared
from vapsr_arch.pipeline.run import Run


class Patch(NamedTuple):
    """One replacement.

    Attributes:
        owner: The module, or the class as `module:Class`.
        name: The attribute.
        replacement: What it becomes.
        where: The lines of BasicSR that are wrong, or that call it.
        why: What is wrong there.
    """

    owner: str
    name: str
    replacement: Any
    where: str
    why: str


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Run]:
    """The current run's options, as BasicSR's `parse_options` returns them."""
    return Run.current.begin(root_path), Run.current


PATCHES = (
    Patch('basicsr.train', 'parse_options', parse_options, 'basicsr/utils/options.py:90',
          'YAML that runs code, no checks, exec and eval for --force_yml; the options are read once, by Run'),
    Patch('basicsr.test', 'parse_options', parse_options, 'basicsr/utils/options.py:90', 'the same'),
    Patch('basicsr.train', 'load_resume_state', loaders.load_resume_state, 'basicsr/train.py:71',
          'looks under the current folder in place of the root, dies of a damaged or a stray file, needs a GPU'),
    Patch('basicsr.train', 'make_exp_dirs', prepared.make_exp_dirs, 'basicsr/train.py:96',
          'archives an older folder before anything is checked'),
    Patch('basicsr.test', 'make_exp_dirs', prepared.make_exp_dirs, 'basicsr/test.py:18', 'the same'),
    Patch('basicsr.train', 'build_model', prepared.build_model, 'basicsr/train.py:119', 'the model is built by then'),
    Patch('basicsr.test', 'build_model', prepared.build_model, 'basicsr/test.py:36', 'the same'),
    Patch('basicsr.test', 'build_dataset', prepared.build_dataset, 'basicsr/test.py:28', 'the data sets are built by then'),
    Patch('basicsr.train', 'create_train_val_dataloader', loaders.create_train_val_dataloader, 'basicsr/train.py:45',
          'counts epochs with a batch that the loader leaves out; the order of the images does not depend on the seed'),
    Patch('basicsr.train', 'copy_opt_file', logs.write_resolved_options, 'basicsr/utils/options.py:196',
          'copies the option file without what the command line set'),
    Patch('basicsr.train', 'init_wandb_logger', logs.init_wandb_logger, 'basicsr/utils/logger.py:116',
          'wandb.util.generate_id is gone'),
    Patch('basicsr.train', 'MessageLogger', TrainingLog, 'basicsr/utils/logger.py:56', 'its line lacks the rates and the memory'),
    Patch('basicsr.train', 'CPUPrefetcher', Prefetcher, 'basicsr/data/prefetch_dataloader.py:69',
          'begins an epoch twice: the workers start twice'),
    Patch('basicsr.train', 'CUDAPrefetcher', CUDAPrefetcher, 'basicsr/data/prefetch_dataloader.py:98',
          'the same; and the memory of a batch may be written to while it is read'),
    Patch('basicsr.data.prefetch_dataloader:PrefetchGenerator', 'run', loaders.put_batches,
          'basicsr/data/prefetch_dataloader.py:24', 'an error ends the reading thread, and the training waits for ever'),
    Patch('basicsr.data.prefetch_dataloader:PrefetchGenerator', '__next__', loaders.take_batch,
          'basicsr/data/prefetch_dataloader.py:30', 'the same'),
    *(Patch('basicsr.models.base_model:BaseModel', name, replacement, where, why) for name, replacement, where, why in (
        ('get_optimizer', basicsr_models.get_optimizer, 'basicsr/models/base_model.py:107', 'knows Adam alone'),
        ('setup_schedulers', basicsr_models.setup_schedulers, 'basicsr/models/base_model.py:114',
         'knows its own schedulers alone'),
        ('model_to_device', basicsr_models.model_to_device, 'basicsr/models/base_model.py:89',
         'gives DistributedDataParallel the number of a GPU on a CPU, too'),
        ('load_network', basicsr_models.load_network, 'basicsr/models/base_model.py:278',
         'takes the wrong weights of a file that holds several, or a KeyError'))),
    Patch('basicsr.archs.vgg_arch', 'vgg', basicsr_models.VGGNetworks(), 'basicsr/archs/vgg_arch.py:99',
          'weights that cannot be downloaded are a traceback'),
    Patch('basicsr.archs.vgg_arch', 'VGG_PRETRAIN_PATH', '', 'basicsr/archs/vgg_arch.py:8',
          'takes the weights of VGG19 for every other VGG, too; VGGNetworks looks in the same folder'),
    *(Patch(f'basicsr.models.{module}_model', name, replacement, f'basicsr/models/{module}_model.py:26', 'needs a GPU: .cuda()')
      for module in ('realesrnet', 'realesrgan')
      for name, replacement in (('DiffJPEG', basicsr_models.DiffJPEG), ('USMSharp', basicsr_models.USMSharp))),
    *(Patch(f'basicsr.models.{module}_model', 'filter2D', basicsr_models.filter2D, 'basicsr/utils/img_process_util.py:29',
            'a view of an image that is not contiguous, on a CPU') for module in ('realesrnet', 'realesrgan')),
    *(Patch(f'basicsr.models.{module}_model:{name}', '_dequeue_and_enqueue', basicsr_models.pool_on_device(module, name),
            f'basicsr/models/{module}_model.py:43', 'needs a GPU: .cuda()')
      for module, name in (('realesrnet', 'RealESRNetModel'), ('realesrgan', 'RealESRGANModel'))),
)


def owner_of(patch: Patch) -> Any:
    """The module or the class that a patch changes."""
    module, _, name = patch.owner.partition(':')
    owner = importlib.import_module(module)
    return getattr(owner, name) if name else owner


@contextmanager
def applied(run: Run, patches: tuple[Patch, ...] = PATCHES) -> Iterator[None]:
    """Has BasicSR's pipelines work with the replacements, on a run; afterwards BasicSR is as it was."""
    owners = [owner_of(patch) for patch in patches]
    before = [vars(owner)[patch.name] for owner, patch in zip(owners, patches)]
    Run.current = run
    try:
        for owner, patch in zip(owners, patches):
            setattr(owner, patch.name, patch.replacement)
        yield
    finally:
        for owner, patch, original in zip(owners, patches, before):
            setattr(owner, patch.name, original)
        Run.current = None
