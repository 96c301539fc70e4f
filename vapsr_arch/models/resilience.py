"""Training that can be left alone: saved whole, resumed exactly, stopped by signals, guarded against divergence."""

import signal
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from tqdm import tqdm

from vapsr_arch.data.epochs import EpochPlan
from vapsr_arch.errors import VapsrError
from vapsr_arch.models import run_files, training_state
from vapsr_arch.models.nan_guard import NanGuard
from vapsr_arch.models.optimization import FastSRModel
from vapsr_arch.models.out_of_memory import memory_explained, training_remedy
from vapsr_arch.models.progress import progress_bar
from vapsr_arch.models.schedules import load_optimizer_state, load_rates, scale_rates
from vapsr_arch.models.stopping import stop_signals
from vapsr_arch.weights.torch_files import TorchFileFault

_LOOK_EVERY = 10  # iterations between two looks at what a GPU has found, for each of which it is waited for


class ResilientSRModel(FastSRModel):
    """FastSRModel with `save`, `resume_training` and a guard of each step.

    `opt['run'].epoch_plan`, an EpochPlan, says where an iteration stands in the data. In a training script of one's own, which
    calls BasicSR's pipeline, there is none: a resumed run then begins with the first image of an epoch.

    Args:
        opt: BasicSR's options.

    Attributes:
        guard: The NanGuard.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self._options = training_state.deciding_options(opt) if opt['is_train'] else {}  # BasicSR takes keys out of its options
        self._saved_iter = -1
        self._validated: dict[str, int] = {}  # data sets, and the iteration of their last validation
        self._good: tuple[bytes, bytes] | None = None  # checkpoint and state to go back to
        self._good_iter = -1
        self._bar: tqdm | None = None
        if opt.get('deterministic', False):
            training_state.be_deterministic()
        self._plan: EpochPlan | None = opt['run'].epoch_plan if 'run' in opt else None
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """As FastSRModel's, with the guard, and a look at the disk.

        Raises:
            VapsrError: The disk is too small for the run, or the weights loaded are not finite.
        """
        super().init_training_settings()
        self.guard = NanGuard(self.opt['train'].get('nan_guard', {}))
        if not self._is_finite():
            raise VapsrError(f'{self.opt["path"]["pretrain_network_g"]} has weights that are not finite')
        weights = sum(tensor.nbytes for tensor in self.get_bare_model(self.net_g).state_dict().values())
        optimizer_state = 2 * sum(p.nbytes for p in self.net_g.parameters() if p.requires_grad)
        if self.opt['rank'] == 0:
            start = self._plan.iteration if self._plan else 0
            run_files.check_disk_space(self.opt, start, weights * (1 + hasattr(self, 'net_g_ema')), optimizer_state)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step, unless it is bad; then what the guard or a signal asks for.

        Raises:
            VapsrError: There is not enough memory, training diverges, or the state cannot be saved.
            SystemExit: A signal has asked for an end, and the state is saved.
        """
        if self._bar is None:
            self._begin(current_iter - 1)
        with memory_explained('training', training_remedy(self.opt)):
            super().optimize_parameters(current_iter)
        looks = self.device.type == 'cpu' or current_iter % _LOOK_EVERY == 0
        if looks:
            self._heed_guard(current_iter)
        # After the last iteration there is nothing to stop but the validation, which looks for itself.
        if self._is_asked_to_stop(looks) and current_iter < self.opt['train']['total_iter']:
            self.stop(current_iter)
        self._bar.update()

    def _begin(self, done: int) -> None:
        """What waits for the first iteration: from here on there is something to save."""
        stop_signals.armed = True
        self._bar = progress_bar(done, self.opt['train']['total_iter'], self.opt['rank'] == 0)
        if self._good is None:
            self._good_iter = done
            self._good = run_files.to_bytes(self._network()), run_files.to_bytes(self._state(done))

    def get_current_log(self) -> dict[str, float]:
        """FastSRModel's, with the gradients' norm and the number of steps that the guard has skipped so far."""
        return super().get_current_log() | {'grad_norm': self.grad_norm.item(), 'skipped_steps': self.guard.skipped}

    def _bad_step(self) -> Tensor:
        loss = sum(self.losses.values())
        votes = torch.stack([loss, torch.full_like(loss, stop_signals.asked is not None)])
        if self.opt['dist']:  # one exchange, of the loss and of whether a process was asked to stop
            torch.distributed.all_reduce(votes)
            votes[0] /= self.opt['world_size']
        loss, self._stop_votes = votes
        # With fp16 gradients are not finite now and then: the loss scaler sees to them.
        return self.guard.judge(loss, torch.zeros_like(loss) if self.scaler.is_enabled() else self.grad_norm)

    def _heed_guard(self, current_iter: int) -> None:
        skipped = self.guard.skipped
        fault = self.guard.read()
        if fault:
            get_root_logger().warning(f'Iteration {current_iter:,}: {fault}; steps skipped: '
                                      f'{self.guard.skipped - skipped}, in all {self.guard.skipped}')
        if self.guard.diverged:
            self._roll_back(current_iter, f'{fault}, the last of {self.guard.patience} bad steps in a row')

    def _roll_back(self, current_iter: int, reason: str) -> None:
        """Takes back the weights and the optimizer state, and lowers the learning rate; the data continues.

        Raises:
            VapsrError: That was done too often before.
        """
        self.guard.roll_back(reason)
        network, state = map(run_files.from_bytes, self._good)
        self.get_bare_model(self.net_g).load_state_dict(network['params'])
        if 'params_ema' in network:
            self.net_g_ema.load_state_dict(network['params_ema'])
        self._load_more(state)
        scale_rates(self.optimizers, self.schedulers, self.guard.lr_factor)
        get_root_logger().warning(
            f'Iteration {current_iter:,}: {reason}. Back to the weights of iteration {state["iter"]:,}, with the learning '
            f'rate lowered to {self.get_current_learning_rate()[0]:.3e}; rollback {self.guard.rollbacks} of '
            f'{self.guard.max_rollbacks}')

    def _is_asked_to_stop(self, looks: bool) -> bool:
        """Whether a signal has come; of several processes all hear of it in the same iteration, one that `looks`."""
        if self.opt['dist']:
            return looks and self._stop_votes.item() > 0
        return stop_signals.asked is not None

    def stop(self, current_iter: int) -> None:
        """Saves and ends the process.

        Raises:
            SystemExit: With 128 and the signal's number.
        """
        if self._saved_iter != current_iter:
            self.save(0, current_iter)
        ended = current_iter == self.opt['train']['total_iter']
        if ended:
            self.save_network_as('latest')
        if self.opt['dist']:
            torch.distributed.barrier()  # torchrun ends the others when one has ended: not before the state is written
        self._bar.close()
        number = stop_signals.asked or signal.SIGTERM  # it may have reached another process alone
        get_root_logger().info(f'All {current_iter:,} iterations are done and saved; a signal stopped the validation after them: '
                               f'resume with --auto_resume to validate' if ended else
                               f'Stopped by a signal after iteration {current_iter:,}; resume with --auto_resume')
        raise SystemExit(128 + number)

    def _is_finite(self) -> bool:
        networks = [self.net_g, *self.more_networks().values()] + ([self.net_g_ema] if hasattr(self, 'net_g_ema') else [])
        return all(tensor.isfinite().all() for network in networks for tensor in network.state_dict().values())

    def more_networks(self) -> dict[str, nn.Module]:
        """The networks that a subclass trains beside `net_g`, by names of its own; none here.

        Their weights lie in the training state: they are resumed and rolled back as those of `net_g` are.
        """
        return {}

    def save(self, epoch: int, current_iter: int) -> None:
        """Saves the checkpoint and the state of an iteration; of -1, the end of training, the checkpoint `latest`, too.

        Weights that are not finite are rolled back first.

        Args:
            epoch: Not used: it follows from the iteration.
            current_iter: The iteration.

        Raises:
            VapsrError: A file cannot be written, or training diverges.
        """
        iteration = current_iter if current_iter > 0 else self.opt['train']['total_iter']
        self._heed_guard(iteration)
        if not self._is_finite():
            self._roll_back(iteration, 'the weights are not finite')
        if current_iter == -1:
            if self._bar:
                self._bar.close()
            if self._saved_iter < iteration:  # a finished run is resumed with more iterations, and not begun again
                self.save(epoch, iteration)
            self.save_network_as('latest')
            return
        # Not one that a signal asked for: the run would go back to another state than if it had not come.
        is_good = self.guard.calm and current_iter % self.opt['logger']['save_checkpoint_freq'] == 0
        if is_good:
            self._good_iter = current_iter
        network, state = run_files.to_bytes(self._network()), run_files.to_bytes(self._state(current_iter))
        if is_good:
            self._good = network, state
        if self.opt['rank'] == 0:
            run_files.save_pair(self.opt, current_iter, network, state, self._good_iter)
        self._saved_iter = current_iter

    def save_network_as(self, label: str) -> None:
        """Writes the checkpoint `net_g_<label>.pth`."""
        if self.opt['rank'] == 0:
            run_files.write(run_files.network_path(self.opt, label), run_files.to_bytes(self._network()))

    def note_validation(self, dataset_name: str, current_iter: int) -> None:
        """Notes that a data set has been validated, and saves the iteration's state once more if it was saved before."""
        self._validated[dataset_name] = current_iter
        if self._saved_iter == current_iter:
            state = run_files.to_bytes(self._state(current_iter))
            if self.opt['rank'] == 0:
                run_files.write(run_files.state_path(self.opt, current_iter), state)

    def _network(self) -> dict[str, Any]:
        content = {'params': self.get_bare_model(self.net_g).state_dict()}
        if hasattr(self, 'net_g_ema'):
            content['params_ema'] = self.net_g_ema.state_dict()
        return {key: {name: tensor.cpu() for name, tensor in weights.items()} for key, weights in content.items()}

    def _state(self, iteration: int) -> dict[str, Any]:
        epoch, position = self._plan.after(iteration) if self._plan else (0, 0)
        random = [training_state.random_state(self._gpus())]
        if self.opt['dist']:
            random = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(random, training_state.random_state(self._gpus()))
        return {
            'epoch': epoch, 'iter': iteration, 'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],  # up to here BasicSR's
            'position': position, 'random': random, 'scaler': self.scaler.state_dict(), 'guard': self.guard.state_dict(),
            'best_metrics': getattr(self, 'best_metric_results', {}), 'options': self._options, 'good_iter': self._good_iter,
            'validated': [name for name, last in self._validated.items() if last == iteration],
            'networks': {name: self.get_bare_model(network).state_dict() for name, network in self.more_networks().items()},
        }

    def _gpus(self) -> list[int]:
        """The GPUs of this process."""
        if self.device.type == 'cpu':
            return []
        return [torch.cuda.current_device()] if self.opt['dist'] else list(range(self.opt['num_gpu']))

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resumes from a training state, of this package or of BasicSR.

        Options that have changed since are taken from the option file; a warning lists them.

        Raises:
            VapsrError: The optimizer state does not fit the option file.
        """
        # The first step of a resumed optimizer comes after the schedule's.
        warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step')
        self._saved_iter = resume_state['iter']
        self._validated = dict.fromkeys(resume_state.get('validated', ()), self._saved_iter)
        if 'random' not in resume_state:
            get_root_logger().warning('The training state is BasicSR\'s own: it lacks the position in the epoch, which '
                                      'begins again, the random states, the best metrics and the losses before')
            self._load_more(resume_state)
            self._load_schedule(resume_state)
            return
        changes = training_state.changed_options(resume_state['options'], self._options)
        if changes:
            get_root_logger().warning('The options are not those that the training state was saved with, and the new ones '
                                      f'are used: {"; ".join(changes)}')
        self.guard.load_state_dict(resume_state['guard'])
        self.scaler.load_state_dict(resume_state['scaler'])
        metrics = self.opt.get('val', {}).get('metrics', {}).keys()
        best = {name: record for name, record in resume_state['best_metrics'].items() if record.keys() == metrics}
        if best:
            self.best_metric_results = best
        self._load_more(resume_state, changes)
        if any(map(training_state.is_schedule, changes)):
            self._play_schedule(resume_state['iter'])
        else:
            self._load_schedule(resume_state)
        if any(map(training_state.changes_losses, changes)):
            self.guard.forget_losses()
        self._find_good(resume_state['good_iter'])
        if self.opt['rank'] < len(resume_state['random']):
            training_state.set_random_state(resume_state['random'][self.opt['rank']], self._gpus())

    def _find_good(self, iteration: int) -> None:
        """Reads the state to go back to; where it is not there any more, the run goes back to where it resumes."""
        paths = run_files.network_path(self.opt, iteration), run_files.state_path(self.opt, iteration)
        if all(path.is_file() for path in paths):
            good = paths[0].read_bytes(), paths[1].read_bytes()
            try:
                for data in good:
                    run_files.from_bytes(data)
            except TorchFileFault as fault:
                get_root_logger().warning(f'{paths[0]} or its state is damaged ({fault}): should training diverge, it goes back '
                                          f'to where it resumes')
                return
            self._good, self._good_iter = good, iteration

    def _load_more(self, state: dict[str, Any], changes: Sequence[str] = ()) -> None:
        """The weights of further networks, and what the optimizers keep; the settings stay those of the option file.

        Args:
            state: The training state.
            changes: What has changed in the options since, as `changed_options` says it.

        Raises:
            VapsrError: The state is not of such networks and optimizers.
        """
        networks, saved = self.more_networks(), state.get('networks', {})
        if networks.keys() != saved.keys() or len(state['optimizers']) != len(self.optimizers):
            have, want = (f'{number} optimizers and the networks {", ".join(["g", *names])}' for number, names in (
                (len(state['optimizers']), saved), (len(self.optimizers), networks)))
            raise VapsrError(f'the training state is of another model class than {type(self).__name__}: it has {have}, '
                             f'not {want}')
        for name, network in networks.items():
            self.get_bare_model(network).load_state_dict(saved[name])
        culprits = [change.partition(':')[0] for change in changes if change.startswith(('train.freeze', 'train.optim_'))]
        try:
            if 'train.freeze' in culprits:
                raise ValueError('it is of other parameters')
            for optimizer, optimizer_state in zip(self.optimizers, state['optimizers']):
                load_optimizer_state(optimizer, optimizer_state)
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise VapsrError(f'{" or ".join(culprits) or "train.optim_g"} is not what the training state was saved with, whose '
                             f'optimizer state does not fit it ({error}): set it back, or begin a new run from the weights with '
                             f'path.pretrain_network_g') from None

    def _load_schedule(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state['optimizers']):
            load_rates(optimizer, saved)
        for scheduler, saved in zip(self.schedulers, state['schedulers']):
            scheduler.load_state_dict(saved)

    def _play_schedule(self, iteration: int) -> None:
        """The learning rate as it would be had the options always been those of now."""
        for number in range(1, iteration + 1):
            self.update_learning_rate(number, self.opt['train'].get('warmup_iter', -1))
        scale_rates(self.optimizers, self.schedulers, self.guard.lr_scale)
