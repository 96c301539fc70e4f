"""The optimisation step: mixed precision, accumulation, clipping, and an EMA and losses that do not hold up the device."""

import contextlib
import copy
import fnmatch
import functools
import inspect
from collections.abc import Sequence

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vapsr_arch.archs.common.adapted import adapted, bare
from vapsr_arch.archs.common.self_ensemble import self_ensembled
from vapsr_arch.archs.common.tiles import upscaled_in_tiles
from vapsr_arch.errors import VapsrError
from vapsr_arch.models.schedules import make_optimizer, make_scheduler, take_step
from vapsr_arch.options.schema import losses_of

_LOSS_NAMES = {'pixel_opt': ('l_pix',), 'perceptual_opt': ('l_percep', 'l_style')}  # SRModel's
_AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def _by_name(key: str, loss: Tensor | Sequence[Tensor | None]) -> dict[str, Tensor]:
    """A criterion's losses by the names they have in the log; some criteria return several, of which some may be None."""
    losses = loss if isinstance(loss, (tuple, list)) else (loss,)
    names = _LOSS_NAMES.get(key, ())
    if len(losses) > len(names):
        name = f'l_{key.removesuffix("_opt")}'
        names = (name,) if len(losses) == 1 else tuple(f'{name}_{number}' for number in range(1, len(losses) + 1))
    return {name: loss for name, loss in zip(names, losses) if loss is not None}


def _takes_output_alone(criterion: nn.Module) -> bool:
    """Whether a loss, such as BasicSR's WeightedTVLoss, does not look at the ground truth."""
    parameters = [parameter for parameter in inspect.signature(criterion.forward).parameters.values()
                  if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    return len(parameters) < 2 or parameters[1].name == 'weight'


def freeze(network: nn.Module, patterns: Sequence[str]) -> None:
    """Takes parameters out of the training.

    Args:
        network: The network.
        patterns: Names of parameters, with the wildcards of a shell.

    Raises:
        VapsrError: A pattern names no parameter, or all of them are frozen.
    """
    named = dict(network.named_parameters())
    for pattern in patterns:
        names = fnmatch.filter(named, pattern)
        if not names:
            raise VapsrError(f'train.freeze: {pattern} names no parameter of {type(network).__name__}; they are named like '
                             f'{", ".join([*named][:3])}')
        for name in names:
            named[name].requires_grad = False
    frozen = sum(not parameter.requires_grad for parameter in named.values())
    if patterns and frozen == len(named):
        raise VapsrError('train.freeze: every parameter is frozen, nothing is left to train')
    if patterns:
        get_root_logger().info(f'train.freeze: {frozen} of {len(named)} parameter tensors are not trained')


def full_halo(network: nn.Module) -> int:
    """The halo with which tiles make what the whole image does.

    Raises:
        VapsrError: There is none, or the network does not say it.
    """
    halo = getattr(network, 'halo', None)
    if halo is None or getattr(network, 'size_multiple', 1) > 1:
        raise VapsrError(f'val.tile: {type(bare(network)).__name__} has no known halo (the pixels around a tile that its result '
                         f'depends on), without which tiles change the result: leave val.tile out')
    return halo


class FastSRModel(SRModel):
    """SRModel with `optimize_parameters` and what belongs to it written for today's torch.

    The keys of `train` that it reads are `amp`, `accumulate`, `grad_clip_norm`, `compile`, `channels_last` and `freeze`, those
    of `val` `self_ensemble` and `tile`; `vapsr_arch.options.schema` says what they mean.

    Attributes:
        criteria: The losses' modules by key of `train`; each is called with output and ground truth, or, where it does not
            look at the ground truth, with the output alone.
        losses: The last iteration's losses of this process by name, scalars on the device.
        grad_norm: The norm of all gradients of the last iteration before clipping, a scalar on the device; the same on
            all processes.
        scaler: Scales the loss of `amp: fp16`, and does nothing otherwise.
    """

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves, compiles and wraps a network; of `net_g` it first freezes what `train.freeze` names.

        basicsr/models/base_model.py:98 gives DistributedDataParallel the number of a GPU on a CPU, too.

        Raises:
            VapsrError: A pattern of `train.freeze` names no parameter, or all of them are frozen.
        """
        train = self.opt.get('train', {})
        if self.is_train and net is self.net_g:  # DistributedDataParallel must not wait for frozen gradients
            freeze(bare(net), train.get('freeze', ()))
        net = adapted(net).to(self.device, memory_format=self._memory_format)
        if train.get('compile', False):
            net.compile()  # in place: the names of the state dict stay
        if self.opt['dist']:
            devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
            return DistributedDataParallel(net, devices,
                                           find_unused_parameters=self.opt.get('find_unused_parameters', False))
        return DataParallel(net) if self.opt['num_gpu'] > 1 else net

    def test(self) -> None:
        """Upscales `lq` to `output`, with the EMA if there is one, in tiles if `val.tile` asks for them.

        By the forward method of the bare network: images of all sizes are not worth compiling for, and the processes, of
        which each has its share of a data set, would wait for each other.
        """
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        val = self.opt.get('val', {})
        upscale = net.forward
        if 'tile' in val:
            upscale = functools.partial(upscaled_in_tiles, net.forward, tile=val['tile'], halo=full_halo(net),
                                        min_size=getattr(net, 'min_size', 1))
        training = net.training
        net.eval()
        with torch.no_grad():
            self.output = self_ensembled(upscale, self.lq) if val.get('self_ensemble', False) else upscale(self.lq)
        net.train(training)

    @property
    def _memory_format(self) -> torch.memory_format:
        channels_last = self.opt.get('train', {}).get('channels_last', True)
        return torch.channels_last if channels_last else torch.contiguous_format

    def init_training_settings(self) -> None:
        """As SRModel's, with the loss scaler and any number of losses: the keys of `train` that end in `_opt`."""
        train = self.opt['train']
        self.net_g.train()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=train.get('amp') == 'fp16')
        self.ema_decay = train.get('ema_decay', 0)
        if self.ema_decay > 0:
            get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
            self.net_g_ema = copy.deepcopy(self.get_bare_model(self.net_g)).eval()
            path = self.opt['path']
            if path.get('pretrain_network_g'):
                self.load_network(self.net_g_ema, path['pretrain_network_g'], path.get('strict_load_g', True), 'params_ema')
        self.criteria = {key: build_loss(dict(options)).to(self.device) for key, options in losses_of(train).items()}
        self.setup_optimizers()
        self.setup_schedulers()

    def setup_optimizers(self) -> None:
        """As SRModel's; frozen parameters are left out. All of `optimizers` are stepped together."""
        options = dict(self.opt['train']['optim_g'])
        trained = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        self.optimizer_g = self.get_optimizer(options.pop('type'), trained, **options)
        self.optimizers.append(self.optimizer_g)

    def get_optimizer(self, optim_type: str, params: list[Tensor], lr: float | None = None, **kwargs: object
                      ) -> torch.optim.Optimizer:
        """Any of torch's; SRModel knows Adam alone, which loops over the tensors on a CPU."""
        return make_optimizer(optim_type, params, lr, **kwargs)

    def setup_schedulers(self) -> None:
        """As SRModel's, with torch's own schedulers as well."""
        options = dict(self.opt['train']['scheduler'])
        name = options.pop('type')
        self.schedulers += [make_scheduler(name, optimizer, **options) for optimizer in self.optimizers]

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the optimizer on the batch that `feed_data` took."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.losses = self._backward()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        trained = [parameter for optimizer in self.optimizers for group in optimizer.param_groups
                   for parameter in group['params'] if parameter.grad is not None]
        self.grad_norm = get_total_norm([parameter.grad for parameter in trained])
        if 'grad_clip_norm' in self.opt['train']:
            clip_grads_with_norm_(trained, self.opt['train']['grad_clip_norm'], self.grad_norm)
        bad = torch.maximum(self._bad_step(), 1 - self.grad_norm.isfinite().float())
        for optimizer in self.optimizers:  # in place of the loss scaler's own step
            take_step(optimizer, bad)
        self.scaler.update()
        if self.ema_decay > 0:
            self._move_ema(1 - bad)

    def _bad_step(self) -> Tensor:
        """1 where the gradients must not change the weights, else 0; a scalar on the device, the same on all processes."""
        return torch.zeros_like(self.grad_norm)

    def _backward(self) -> dict[str, Tensor]:
        """Adds up the gradients of the batch's parts, and returns the batch's losses."""
        parts = self.opt['train'].get('accumulate', 1)
        totals: dict[str, Tensor] = {}
        for part, (lq, gt) in enumerate(zip(self.lq.chunk(parts), self.gt.chunk(parts)), 1):
            silent = self.opt['dist'] and part < parts  # gradients go to the other processes with the last part
            with self.net_g.no_sync() if silent else contextlib.nullcontext():
                losses = {name: loss / parts for name, loss in self.compute_losses(lq, gt).items()}
                self.scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach()
        return totals

    def compute_losses(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """The losses of some samples; their sum is minimised, and each stands in the log.

        A subclass may override it, and add losses to these.

        Args:
            lq: LR images, N x C x H x W.
            gt: Their ground truth, N x C x sH x sW.

        Returns:
            Scalars by name.
        """
        dtype = _AUTOCAST.get(self.opt['train'].get('amp'))
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            output = self.net_g(lq).float().contiguous()  # third-party losses take views
            losses: dict[str, Tensor] = {}
            for key, criterion in self.criteria.items():
                result = criterion(output) if _takes_output_alone(criterion) else criterion(output, gt)
                for name, loss in _by_name(key, result).items():
                    losses[name if name not in losses else f'{name} ({key})'] = loss
        return losses

    @torch.no_grad()
    def _move_ema(self, taken: Tensor) -> None:
        """Moves the EMA towards the network's parameters; as in SRModel, buffers stay as they are.

        Args:
            taken: 1 if the step was taken, 0 if it was left out and the EMA is to stay, too; a scalar on the device.
        """
        average = list(self.net_g_ema.parameters())
        way = torch._foreach_sub(list(self.get_bare_model(self.net_g).parameters()), average)
        torch._foreach_mul_(way, taken * (1 - self.ema_decay))
        torch._foreach_add_(average, way)

    def get_current_log(self) -> dict[str, float]:
        """The last iteration's losses, the mean over the processes; all of them have to ask.

        SRModel reads them back every iteration, for which a GPU has to be waited for.
        """
        losses = torch.stack(list(self.losses.values()))
        if self.opt['dist']:
            torch.distributed.all_reduce(losses)
            losses /= self.opt['world_size']
        return dict(zip(self.losses, losses.tolist()))
