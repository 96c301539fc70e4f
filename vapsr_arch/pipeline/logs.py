"""What a run leaves beside its weights: the options as they were understood, and its curves in Weights & Biases."""

from pathlib import Path
from typing import Any

from vapsr_arch.files import written_whole
from vapsr_arch.pipeline.run import Run


def write_resolved_options(option_file: str, experiments_root: str) -> None:
    """Writes the current run's option file, as it was understood, into the run's folder; the process of rank 0 does."""
    from basicsr.utils.dist_util import get_dist_info
    if get_dist_info()[0] == 0:
        with written_whole(Path(experiments_root, Path(option_file).name)) as path:
            path.write_text(Run.current.resolved(), encoding='utf-8')


def init_wandb_logger(opt: dict[str, Any]) -> None:
    """Begins a run of Weights & Biases that follows TensorBoard's curves, or resumes one: `logger.wandb.resume_id`."""
    from basicsr.utils.dist_util import get_dist_info
    if get_dist_info()[0] != 0:
        return
    import wandb
    from basicsr.utils import get_root_logger
    settings = opt['logger']['wandb']
    run = wandb.init(project=settings['project'], entity=settings.get('entity'), id=settings.get('resume_id'),
                     resume='allow' if settings.get('resume_id') else None, name=opt['name'],
                     config=Run.current.options, sync_tensorboard=True)
    get_root_logger().info(f'wandb: project {settings["project"]}, id {run.id}')
