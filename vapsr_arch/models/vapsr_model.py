"""The model class of every network here: BasicSR's SRModel, with repaired checkpoints, devices and validation."""

import csv
from collections import ChainMap
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.dist_util import get_dist_info
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from vapsr_arch.data.image_writing import write_png
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.metrics.measure import measure
from vapsr_arch.models.optimization import full_halo
from vapsr_arch.models.out_of_memory import memory_explained
from vapsr_arch.models.resilience import ResilientSRModel
from vapsr_arch.models.stopping import stop_signals
from vapsr_arch.weights.networks import load_into
from vapsr_arch.weights.spandrel_networks import SpandrelNetwork


class VapSRModel(ResilientSRModel):
    """Trains, validates and tests a super-resolution network through BasicSR's loops.

    A subclass, registered with BasicSR's MODEL_REGISTRY, may override `compute_losses` (what is minimised),
    `init_training_settings` and `setup_optimizers` (further networks, and optimizers in `optimizers`), `more_networks` (which of
    them lie in the training state), `feed_data` and `test`; guard, exact resume, states and log then are its own, too.

    Args:
        opt: BasicSR's options.

    Raises:
        VapsrError: The GPUs asked for are not there, a test has no checkpoint, a checkpoint cannot be loaded, or the network
            cannot be tested in tiles.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        present = torch.cuda.device_count()
        if opt['num_gpu'] > present and not (present and opt['dist']):  # some may be on other machines
            raise VapsrError(f'num_gpu: {opt["num_gpu"]} asked for, but torch finds {present} CUDA GPUs here; `auto` uses '
                             f'what is there, 0 is the CPU')
        if not opt['is_train'] and not opt['path'].get('pretrain_network_g'):
            raise VapsrError(f'{opt["name"]}: a test needs a checkpoint: set path.pretrain_network_g')
        super().__init__(opt)
        if 'tile' in opt.get('val', {}):
            full_halo(self.get_bare_model(self.net_g))

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = None) -> None:
        """Loads a checkpoint into one of the model's networks, by the rules of `vapsr_arch.weights`.

        A resumed network takes its own weights, any other the EMA's, unless `path.param_key_*` says otherwise. That is looked
        up here, since `param_key`, which BasicSR passes, may also be BasicSR's default.
        """
        net = self.get_bare_model(net)
        if isinstance(net, SpandrelNetwork):
            get_root_logger().info(f'{net.architecture}, as spandrel recognised it: all tensors loaded from {load_path}')
            return
        label = next((name.removeprefix('net_') for name, value in vars(self).items()
                      if name.startswith('net_') and isinstance(value, nn.Module) and self.get_bare_model(value) is net), 'g')
        path, asked = self.opt['path'], None
        if not label.endswith('_ema'):
            asked = 'params' if path.get('resume_state') else path.get(f'param_key_{label}')
        get_root_logger().info(f'net_{label}, {load_into(net, load_path, asked, strict)}')

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resumes from a training state; first does the validation that its iteration still lacks, without TensorBoard."""
        super().resume_training(resume_state)
        iteration, total_iter = resume_state['iter'], self.opt['train']['total_iter']
        if 'val' not in self.opt or iteration % self.opt['val']['val_freq'] or iteration >= total_iter:
            return  # at the end, BasicSR's loop validates
        for phase, options in self.opt['datasets'].items():
            if phase.startswith('val') and self._validated.get(options['name']) != iteration:
                self.validation(DataLoader(build_dataset(options)), iteration, None, self.opt['val']['save_img'])

    def validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Upscales a data set's images and measures them.

        The means are logged, and a row an image written to `results/<name>/<set>.csv`, in training to
        `experiments/<name>/<set>.csv`. Images without ground truth are not measured. Each process takes its share of the
        images, and all have the results.

        Raises:
            VapsrError: There is not enough memory.
            SystemExit: A signal has asked for an end of training, and the state is saved.
        """
        dataset = dataloader.dataset
        if self.is_train:  # the loop of basicsr/train.py ends one past the last iteration
            current_iter = min(current_iter, self.opt['train']['total_iter'])
            if self._validated.get(dataset.opt['name']) == current_iter:
                return  # it validates once more at the end, whether or not the last iteration was validated
        rank, processes = get_dist_info()
        share = range(rank, len(dataset), processes)
        rows = {}
        # A generator of its own: validation does not change what the network draws in training.
        progress = tqdm(DataLoader(Subset(dataset, share), generator=torch.Generator()), dataset.opt['name'], unit='image',
                        disable=rank > 0 or not self.opt['val'].get('pbar', False))
        for index, data in zip(share, progress):
            name = Path(data['lq_path'][0]).stem
            with memory_explained(f'{dataset.opt["name"]}, {name}', 'use a smaller image, set val.tile, or use other hardware'):
                image, gt = self._upscale(data)
            if save_img:
                write_png(self._image_path(dataset.opt['name'], name, current_iter), image)
            if gt is not None:
                rows[index] = {'image': name} | measure(image, gt, self.opt['val'].get('metrics', {}))
            if stop_signals.asked:
                break
        done = [(rows, stop_signals.asked is not None)]
        if processes > 1:
            own, done = done[0], [None] * processes
            torch.distributed.all_gather_object(done, own)
        if any(asked for _, asked in done):
            self.stop(current_iter)
        rows = dict(ChainMap(*(rows for rows, _ in done)))
        if not rows:
            get_root_logger().info(f'{dataset.opt["name"]}: no ground truth, nothing measured')
        elif self.opt['val'].get('metrics'):
            self._report(dataset.opt['name'], [rows[index] for index in sorted(rows)], current_iter, tb_logger)
        if self.is_train:
            self.note_validation(dataset.opt['name'], current_iter)

    def _upscale(self, data: dict[str, Any]) -> tuple[Any, Any]:
        """The network's image of one sample and the ground truth or None: H x W x 3, uint8, BGR."""
        self.feed_data(data)
        self.test()
        images = tensor2img(self.output), tensor2img(self.gt) if 'gt' in data else None
        for attribute in ('lq', 'gt', 'output'):  # frees their memory before the next image
            self.__dict__.pop(attribute, None)
        return images

    def _image_path(self, dataset_name: str, name: str, current_iter: int | str) -> str:
        folder = Path(self.opt['path']['visualization'])
        if self.is_train:
            return str(folder / name / f'{name}_{current_iter}.png')
        return str(folder / dataset_name / f'{name}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')

    def _report(self, dataset_name: str, rows: list[dict], current_iter: int | str, tb_logger: Any) -> None:
        metrics = [key for key in rows[0] if key != 'image']
        self.metric_results = {metric: sum(row[metric] for row in rows) / len(rows) for metric in metrics}
        if self.is_train:
            self._initialize_best_metric_results(dataset_name)
            for metric, value in self.metric_results.items():
                self._update_best_metric_result(dataset_name, metric, value, current_iter)
                if self.best_metric_results[dataset_name][metric]['iter'] == current_iter:
                    several = sum(phase.startswith('val') for phase in self.opt['datasets']) > 1
                    self.save_network_as(f'best_{metric}_{dataset_name}' if several else f'best_{metric}')
        if get_dist_info()[0] == 0:
            folder = self.opt['path']['experiments_root' if self.is_train else 'results_root']
            with written_whole(Path(folder, f'{dataset_name}.csv')) as path, path.open('w', newline='') as file:
                writer = csv.DictWriter(file, ['image', *metrics])
                writer.writeheader()
                writer.writerows(rows)
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)
