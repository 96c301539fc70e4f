"""The table of what is replaced in BasicSR 1.4.2 while `vapsr train` or `vapsr test` runs, and why.

Nothing else of BasicSR is touched. What has to come before its import is in `vapsr_arch.basicsr_imports`.
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
        where: The line of BasicSR that defines it, or that calls it.
        why: What is wrong there.
        test: The test that goes through it, by which one sees whether it is still needed.
    """

    owner: str
    name: str
    replacement: Any
    where: str
    why: str
    test: str


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Run]:
    """The current run's options, as BasicSR's `parse_options` returns them."""
    return Run.current.begin(root_path), Run.current


PATCHES = (
    Patch('basicsr.train', 'parse_options', parse_options, 'basicsr/utils/options.py:82',
          'YAML that runs code, no checks, exec and eval for --force_yml; the options are read once, by Run',
          'test_the_options_of_a_run_run_again'),
    Patch('basicsr.test', 'parse_options', parse_options, 'basicsr/utils/options.py:82', 'the same',
          'test_force_yml_takes_several_values'),
    Patch('basicsr.train', 'load_resume_state', prepared.load_resume_state, 'basicsr/train.py:68',
          'looks under the current folder in place of the root, dies of a damaged or a stray file, needs a GPU; and what is '
          'built after it is built now, before an older folder is archived', 'test_auto_resume_continues_to_exactly_total_iter'),
    Patch('basicsr.test', 'make_exp_dirs', prepared.make_exp_dirs, 'basicsr/test.py:19',
          'archives an older folder before anything is checked', 'test_a_test_that_fails_leaves_earlier_results'),
    Patch('basicsr.utils.misc', 'mkdir_and_rename', prepared.mkdir_and_rename, 'basicsr/utils/misc.py:24',
          'fails where a folder was archived in the same second', 'test_folders_archived_in_one_second'),
    Patch('basicsr.train', 'mkdir_and_rename', prepared.mkdir_and_rename, 'basicsr/train.py:105', 'the same, for tb_logger',
          'test_folders_archived_in_one_second'),
    Patch('basicsr.train', 'create_train_val_dataloader', prepared.create_train_val_dataloader, 'basicsr/train.py:29',
          'counts epochs with a batch that the loader leaves out; the order of the images does not depend on the seed',
          'test_exactly_total_iter_iterations'),
    Patch('basicsr.test', 'build_dataset', prepared.build_dataset, 'basicsr/test.py:28', 'the data sets are built by then',
          'test_a_test_builds_its_sets_and_its_model_once'),
    Patch('basicsr.train', 'build_model', prepared.build_model, 'basicsr/train.py:124', 'the model is built by then',
          'test_the_log_file_has_what_was_logged_before_it'),
    Patch('basicsr.test', 'build_model', prepared.build_model, 'basicsr/test.py:35', 'the same',
          'test_a_test_builds_its_sets_and_its_model_once'),
    Patch('basicsr.train', 'copy_opt_file', logs.copy_opt_file, 'basicsr/utils/options.py:181',
          'copies the option file without what the command line set', 'test_the_options_of_a_run_run_again'),
    *(Patch(f'basicsr.{module}', 'get_env_info', logs.environment, 'basicsr/utils/logger.py:188', 'logs a banner of a screen',
            'test_a_run_is_read_at_a_glance') for module in ('train', 'test')),
    *(Patch(f'basicsr.{module}', 'dict2str', logs.options_line, 'basicsr/utils/options.py:37',
            'logs all options, which takes screens; they are in the log file', 'test_a_run_is_read_at_a_glance')
      for module in ('train', 'test')),
    Patch('basicsr.train', 'init_wandb_logger', logs.init_wandb_logger, 'basicsr/utils/logger.py:126',
          'calls wandb.util.generate_id, which is gone, and after an older folder is archived', 'test_wandb_follows_the_curves'),
    Patch('basicsr.train', 'MessageLogger', TrainingLog, 'basicsr/utils/logger.py:45', 'its line lacks the rates and the memory',
          'test_a_line_a_print_interval'),
    Patch('basicsr.train', 'CPUPrefetcher', Prefetcher, 'basicsr/data/prefetch_dataloader.py:63',
          'begins an epoch twice: the workers start twice', 'test_prefetchers_give_every_batch_once'),
    Patch('basicsr.train', 'CUDAPrefetcher', CUDAPrefetcher, 'basicsr/data/prefetch_dataloader.py:84',
          'the same; and the memory of a batch may be written to while it is read', 'test_batches_are_copied_to_the_gpu'),
    Patch('basicsr.data.prefetch_dataloader:PrefetchGenerator', 'run', loaders.put_batches,
          'basicsr/data/prefetch_dataloader.py:25', 'an error ends the reading thread, and the training waits for ever',
          'test_image_damaged_during_training_is_named'),
    Patch('basicsr.data.prefetch_dataloader:PrefetchGenerator', '__next__', loaders.take_batch,
          'basicsr/data/prefetch_dataloader.py:30', 'the same', 'test_image_damaged_during_training_is_named'),
    *(Patch('basicsr.models.base_model:BaseModel', name, getattr(basicsr_models, name),
            f'basicsr/models/base_model.py:{line}', why, test)
      for name, line, why, test in (
          ('get_optimizer', 103, 'knows Adam alone', 'test_models_of_others_take_torchs_optimizers_and_schedulers'),
          ('setup_schedulers', 110, 'knows its own schedulers alone',
           'test_models_of_others_take_torchs_optimizers_and_schedulers'),
          ('print_network', 132, 'logs every module, which takes screens; they are in the log file',
           'test_a_run_is_read_at_a_glance'),
          ('model_to_device', 87, 'gives DistributedDataParallel the number of a GPU on a CPU, too',
           'test_two_processes_train_a_gan'),
          ('load_network', 277, 'takes the wrong weights of a file that holds several, or a KeyError',
           'test_states_of_basicsrs_models_are_resumed'),
          ('save_network', 196, 'leaves half a file where it is stopped, and continues where it cannot write',
           'test_models_of_others_stop_where_they_cannot_write'),
          ('save_training_state', 306, 'the same', 'test_models_of_others_stop_at_once'),
          ('validation', 36, 'is called twice at the end, the second time for an iteration too many',
           'test_no_iteration_is_validated_twice'))),
    Patch('basicsr.archs.vgg_arch', 'vgg', basicsr_models.VGGNetworks(), 'basicsr/archs/vgg_arch.py:5',
          'weights that cannot be downloaded are a traceback', 'test_vgg_weights_that_cannot_be_downloaded'),
    Patch('basicsr.archs.vgg_arch', 'VGG_PRETRAIN_PATH', '', 'basicsr/archs/vgg_arch.py:9',
          'takes the weights of VGG19 for every other VGG, too; VGGNetworks looks in the same folder',
          'test_vgg_weights_from_a_file'),
    *(Patch(f'basicsr.models.{module}_model', name, getattr(basicsr_models, name), f'basicsr/models/{module}_model.py:{line}',
            'needs a GPU: .cuda()', 'test_twenty_iterations_and_a_test')
      for module, name, line in (('realesrnet', 'DiffJPEG', 26), ('realesrnet', 'USMSharp', 27),
                                 ('realesrgan', 'DiffJPEG', 27), ('realesrgan', 'USMSharp', 28))),
    *(Patch(f'basicsr.models.{module}_model', 'filter2D', basicsr_models.filter2D, 'basicsr/utils/img_process_util.py:7',
            'a view of an image that is not contiguous, on a CPU', 'test_twenty_iterations_and_a_test')
      for module in ('realesrnet', 'realesrgan')),
    *(Patch(f'basicsr.models.{module}_model:{name}', '_dequeue_and_enqueue', basicsr_models.pool_on_device(module, name),
            f'basicsr/models/{module}_model.py:{line}', 'needs a GPU: .cuda()', 'test_twenty_iterations_and_a_test')
      for module, name, line in (('realesrnet', 'RealESRNetModel', 31), ('realesrgan', 'RealESRGANModel', 32))),
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
        logs.end_file()
