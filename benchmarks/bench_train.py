"""What training gains over BasicSR's own, feature by feature, in one run: `python benchmarks/bench_train.py`.

The first contestant is BasicSR's SRModel as it runs for those who train VapSR with it: the layout copies of the authors'
forward pass, torch's gradients, the losses read back every iteration, an EMA and an Adam that loop over the tensors, PNG
sub-images in LMDBs. Each further one has a feature of this project more; the last has what `vapsr train` has. All begin with
the same weights and draw the same samples, for each network at the patch size of its recipe.

Each contestant is a process. They take turns, some iterations each, so that other work on the machine meets them alike; what
is printed are medians over the rounds: of the rate, and of its ratio to the first contestant's in the same round.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from bench_data import make_sub_images
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.pipeline.registration import register

NETWORKS = {
    'VapSR-S': ({'num_feat': 32, 'num_block': 11, 'd_atten': 64, 'conv_groups': 2}, 256),
    'VapSR': ({'num_feat': 48, 'num_block': 21, 'd_atten': 64}, 192),
}
ON_GPU = torch.cuda.is_available()
COPIES, CONVOLUTIONS, MEMORY, STEP, PACKS, BF16, COMPILE = (
    'no layout copies', 'depthwise and 1x1 convolutions', 'freed memory is kept', 'optimisation step',
    'packs' + ' and prefetching' * ON_GPU, 'amp: bf16', 'compile')
FEATURES = [COPIES, STEP, PACKS, BF16, COMPILE] if ON_GPU else [COPIES, CONVOLUTIONS, MEMORY, STEP, PACKS]
EQUAL_ITERATIONS = 20


def contestant(features: list[str], network: str, folder: Path, batch: int) -> None:
    """Trains: for each number in a line of the input that many iterations; answers with their seconds and losses."""
    register()
    from basicsr.data import build_dataloader
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import ARCH_REGISTRY

    from vapsr_arch.archs.common.depthwise import DepthwiseConv2d
    from vapsr_arch.archs.common.pointwise import PointwiseConv2d
    from vapsr_arch.archs.vapsr_arch import VAB, VapSR
    from vapsr_arch.data.epochs import EpochPlan
    from vapsr_arch.data.paired_pack_dataset import PairedPackDataset
    from vapsr_arch.data.prefetch import CUDAPrefetcher, Prefetcher
    from vapsr_arch.data.sampler import SeededIndex, SeededSampler
    from vapsr_arch.models.vapsr_model import VapSRModel

    @ARCH_REGISTRY.register()
    class VapSRWithCopies(VapSR):
        """VapSR with the copies of the authors' forward pass, which keep all features in NCHW."""

        def forward(self, x: Tensor) -> Tensor:
            first = feat = self.conv_first(x)
            for block in self.body:
                feat = self.block(block, feat)
            return self.upsampler(self.conv_body(feat) + first)

        @staticmethod
        def block(block: VAB, x: Tensor) -> Tensor:
            shortcut, attention = x.clone(), block.atten_branch
            x = F.gelu(block.proj_1(x))
            x = x.clone() * attention.depthwise_dilated(attention.depthwise(attention.pointwise(x)))
            x = (shortcut + block.proj_2(x)).permute(0, 2, 3, 1).contiguous()
            return block.pixel_norm(x).permute(0, 3, 1, 2).contiguous()

    class SeededPNGs(PairedImageDataset):
        """BasicSR's data set, drawing the crops that a PairedPackDataset draws."""

        def __getitem__(self, index: SeededIndex) -> dict[str, Any]:
            random.seed(index.seed)
            return super().__getitem__(index)

    if MEMORY in features:
        keep_freed_memory()
    if CONVOLUTIONS not in features:
        DepthwiseConv2d.forward = PointwiseConv2d.forward = nn.Conv2d.forward
    arguments, gt_size = NETWORKS[network]
    suffix, dataset_class = ('pack', PairedPackDataset) if PACKS in features else ('lmdb', SeededPNGs)
    data = {
        'name': 'bench', 'phase': 'train', 'scale': 4, 'gt_size': gt_size, 'use_hflip': True, 'use_rot': True,
        'dataroot_gt': f'{folder}/gt.{suffix}', 'dataroot_lq': f'{folder}/lq.{suffix}', 'io_backend': {'type': 'lmdb'},
        'batch_size_per_gpu': batch, 'num_worker_per_gpu': 4 if ON_GPU else 1, 'pin_memory': ON_GPU}
    opt = {
        'name': 'bench', 'is_train': True, 'num_gpu': int(ON_GPU), 'dist': False, 'rank': 0, 'world_size': 1, 'scale': 4,
        'path': dict.fromkeys(('experiments_root', 'models', 'training_states'), folder), 'manual_seed': 0,
        'datasets': {'train': data},
        'logger': {'save_checkpoint_freq': 1000000},
        'run': SimpleNamespace(epoch_plan=EpochPlan(size=10000 * batch, batch=batch)),
        'network_g': {'type': 'VapSR' if COPIES in features else 'VapSRWithCopies', 'scale': 4, **arguments},
        'train': {'total_iter': 1000000, 'ema_decay': 0.999, 'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [1000000]}, 'pixel_opt': {'type': 'L1Loss'},
                  'amp': 'bf16' if BF16 in features else 'off', 'compile': COMPILE in features}}
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # as basicsr/train.py
    model = (VapSRModel if STEP in features else SRModel)(opt)
    dataset = dataset_class(data)
    sampler = SeededSampler(dataset, 1, 0, 10000, 0)
    loader = build_dataloader(dataset, data, int(ON_GPU), sampler=sampler, seed=0)
    if sys.platform == 'linux':
        loader.multiprocessing_context = 'fork'  # as in training: Python 3.14 would pickle the data set
    ahead = ON_GPU and PACKS in features
    batches = (CUDAPrefetcher if ahead else Prefetcher)(loader, opt)
    batches.reset()

    iteration, losses = 0, []
    for line in sys.stdin:
        start, waited = time.perf_counter(), 0.0
        for _ in range(int(line)):
            iteration += 1
            asked = time.perf_counter()
            samples = batches.next()
            waited += time.perf_counter() - asked
            model.update_learning_rate(iteration)
            model.feed_data(samples)
            model.optimize_parameters(iteration)
            if iteration <= EQUAL_ITERATIONS:
                losses.append(model.get_current_log()['l_pix'])
        if ON_GPU:
            torch.cuda.synchronize()
        print(json.dumps({'seconds': time.perf_counter() - start, 'waited': waited, 'losses': losses}), flush=True)


def run(process: subprocess.Popen, iterations: int) -> dict[str, Any]:
    """Has a contestant train."""
    print(iterations, file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


def measure(network: str, folder: Path, batch: int, rounds: int, iterations: int) -> None:
    counts = range(len(FEATURES) + 1)
    processes = [subprocess.Popen(
        [sys.executable, __file__, '--contestant', str(count), '--network', network, '--folder', folder, '--batch', str(batch)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for count in counts]
    losses = [torch.tensor(run(process, EQUAL_ITERATIONS)['losses']) for process in processes]
    taken = [[run(process, iterations) for process in processes] for _ in range(rounds)]
    for process in processes:
        process.stdin.close()
        process.wait()
    for count in counts:
        own = [one[count] for one in taken]
        seconds, share = median(o['seconds'] for o in own), median(o['waited'] / o['seconds'] for o in own)
        ratio = median(one[0]['seconds'] / one[count]['seconds'] for one in taken)
        apart = (losses[count] - losses[0]).abs().max().item()
        title = f'+ {FEATURES[count - 1]}' if count else 'SRModel'
        print(f'{network if not count else "":<10}{title:<33}{iterations / seconds:>10.3f}{ratio:>9.2f}{share:>11.1%}'
              f'{apart:>16.1e}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--batch', type=int, default=32 if ON_GPU else 4, help='samples an iteration')
    parser.add_argument('--rounds', type=int, default=9, help='turns of each contestant')
    parser.add_argument('--iterations', type=int, default=100 if ON_GPU else 2, help='iterations of a turn')
    parser.add_argument('--network', choices=NETWORKS, help='this one alone')
    parser.add_argument('--contestant', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant is not None:
        contestant(FEATURES[:arguments.contestant], arguments.network, arguments.folder, arguments.batch)
        return
    device = torch.cuda.get_device_name() if ON_GPU else f'CPU, {torch.get_num_threads()} threads'
    print(f'{device}; batches of {arguments.batch}\n{"":<43}{"it/s":>10}{"ratio":>9}{"data":>11}{"loss apart by":>16}')
    with tempfile.TemporaryDirectory() as name:
        register()
        make_sub_images(Path(name), 40)
        for network in [arguments.network] if arguments.network else NETWORKS:
            measure(network, Path(name), arguments.batch, arguments.rounds, arguments.iterations)


if __name__ == '__main__':
    main()
