"""The optimisation step: mixed precision, accumulation, clipping, and an EMA and losses that do not hold up the device."""

import contextlib

import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

_OPTIMIZERS = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW}
_AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class FastSRModel(SRModel):
    """SRModel with `optimize_parameters` and what belongs to it written for today's torch.

    The keys of `train` that it reads are `amp`, `accumulate`, `grad_clip_norm`, `compile` and `channels_last`;
    `vapsr_arch.option_schema` says what they mean.

    Attributes:
        losses: The last iteration's losses of this process by name, scalars on the device.
        grad_norm: The norm of all gradients of the last iteration before clipping, a scalar on the device; the same on
            all processes.
        scaler: Scales the loss of `amp: fp16`, and does nothing otherwise.
    """

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves, compiles and wraps a network.

        basicsr/models/base_model.py:98 gives DistributedDataParallel the number of a GPU on a CPU, too.
        """
        train = self.opt.get('train', {})
        net = net.to(self.device, memory_format=self._memory_format)
        if train.get('compile', False):
            net.compile()  # in place: the names of the state dict stay
        if self.opt['dist']:
            devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
            return DistributedDataParallel(net, devices,
                                           find_unused_parameters=self.opt.get('find_unused_parameters', False))
        return DataParallel(net) if self.opt['num_gpu'] > 1 else net

    def test(self) -> None:
        """Enlarges `lq` to `output`, with the EMA if there is one.

        By the forward method of the bare network: images of all sizes are not worth compiling for, and the processes, of
        which each has its share of a data set, would wait for each other.
        """
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        with torch.no_grad():
            self.output = net.forward(self.lq)
        net.train(training)

    @property
    def _memory_format(self) -> torch.memory_format:
        channels_last = self.opt.get('train', {}).get('channels_last', True)
        return torch.channels_last if channels_last else torch.contiguous_format

    def init_training_settings(self) -> None:
        """As SRModel's, with the loss scaler, and the EMA's weights laid out as the network's."""
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.opt['train'].get('amp') == 'fp16')
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema.to(memory_format=self._memory_format)  # else the foreach calls take their slow way

    def get_optimizer(self, optim_type: str, params: list[Tensor], lr: float, **kwargs: object) -> torch.optim.Optimizer:
        """Adam or AdamW, fused into one kernel; SRModel knows Adam alone, which loops over the tensors on a CPU."""
        return _OPTIMIZERS[optim_type](params, lr, fused=True, **kwargs)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the optimizer on the batch that `feed_data` took."""
        self.optimizer_g.zero_grad()
        self.losses = self._backward()
        self.scaler.unscale_(self.optimizer_g)
        self.grad_norm = get_total_norm([p.grad for p in self.net_g.parameters() if p.grad is not None])
        if 'grad_clip_norm' in self.opt['train']:
            clip_grads_with_norm_(self.net_g.parameters(), self.opt['train']['grad_clip_norm'], self.grad_norm)
        # What the loss scaler's own step is for: a fused optimizer leaves the weights alone, without the host's knowing.
        self.optimizer_g.found_inf = torch.maximum(self._bad_step(), 1 - self.grad_norm.isfinite().float())
        self.optimizer_g.step()
        self.scaler.update()
        if self.ema_decay > 0:
            self._move_ema(1 - self.optimizer_g.found_inf)

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
                losses = {name: loss / parts for name, loss in self._forward(lq, gt).items()}
                self.scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach()
        return totals

    def _forward(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """The losses of some samples by name."""
        dtype = _AUTOCAST.get(self.opt['train'].get('amp'))
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            output = self.net_g(lq).float()
            losses = {}
            if self.cri_pix:
                losses['l_pix'] = self.cri_pix(output, gt)
            if self.cri_perceptual:
                losses['l_percep'], losses['l_style'] = self.cri_perceptual(output, gt)
        return {name: loss for name, loss in losses.items() if loss is not None}

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
