"""How fast each network upscales by 4 on each engine, in one run: `python benchmarks/bench_infer.py`.

Latencies are medians, from a float32 image on the CPU to a float32 image on the CPU. The floor is the time that the network's
multiply-accumulates would take at the rate of torch's matrix product (sgemm), which is measured before each image on the
same device and threads, so that other work on the machine meets both alike: the ratio is the median over the images, and
networks are compared by it. Freed memory is kept, as `vapsr upscale` does. Peak memory is the growth of a fresh process.
PSNR is that of Set5 (Y channel, 4 pixels cropped), where VAPSR_REFERENCE, by default ../shared, has the authors' weights and
the images; without them the weights are random, which changes no latency. `openvino-file` and `onnxruntime-file` are the runtimes
with a file that `vapsr export` writes, in float32 or with convolutions in int8. What fails is a row with its reason.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import torch

from vapsr_arch.archs import NETWORKS
from vapsr_arch.engines.graphs import metadata
from vapsr_arch.engines.loading import ENGINES, PRECISIONS, Engine, load_engine
from vapsr_arch.export.files import export_onnx, export_openvino
from vapsr_arch.export.int8 import calibration_crops, export_onnx_int8, export_openvino_int8
from vapsr_arch.memory import keep_freed_memory, peak_growth
from vapsr_arch.report.cost import multi_adds
from vapsr_arch.report.machine import describe_machine
from vapsr_arch.weights.networks import build_network

ROOT = Path(__file__).parents[1]
REFERENCE = Path(os.environ.get('VAPSR_REFERENCE', ROOT.parent / 'shared'))
ON_GPU = torch.cuda.is_available()
SCALE = 4
CONTESTANTS = {  # name: class, arguments, the authors' file
    'VapSR': ('VapSR', dict(num_feat=48, num_block=21), 'VapSR_X4'),
    'VapSR-S': ('VapSR', dict(num_feat=32, num_block=11, conv_groups=2), 'VapSR-S'),
    'IMDN': ('IMDN', {}, 'IMDN_x4'),
    'RFDN': ('RFDN', {}, 'RFDN_AIM'),
    'BSRN': ('BSRN', {}, 'BSRN_x4'),
    'BSRN-S': ('BSRN_S', {}, 'BSRN-S'),
    'PAN': ('PAN', {}, 'PANx4_DF2K'),
}
RIVALS = ('RFDN', 'IMDN')
FILES = {'openvino-file': ('openvino', '.xml', export_openvino, export_openvino_int8),
         'onnxruntime-file': ('onnxruntime', '.onnx', export_onnx, export_onnx_int8)}
FILE_PRECISIONS = ('fp32', 'int8')


def weights_of(name: str, folder: Path) -> Path:
    """The authors' weights, or else random ones."""
    kind, arguments, file = CONTESTANTS[name]
    for path in (REFERENCE / f'weights/{file}.pth', ROOT / f'experiments/pretrained_models/{file}.pth'):
        if path.is_file():
            return path
    torch.manual_seed(0)
    path = folder / f'{name}.pth'
    torch.save(NETWORKS[kind](**arguments).state_dict(), path)
    return path


def exported(weights: Path, engine: str, precision: str, folder: Path) -> Path:
    """The file that `vapsr export` writes for the engine of a file."""
    _, suffix, export, export_int8 = FILES[engine]
    network = build_network(weights, SCALE)
    out, facts = folder / f'{weights.stem}_{precision}{suffix}', metadata(network, weights, precision)
    if precision == 'int8':
        export_int8(network, out, facts, calibration_crops(None, network))
    else:
        export(network, out, facts)
    return out


def load(path: Path, engine: str, precision: str) -> Engine:
    """An engine for weights, or for a file that was exported in that precision."""
    if engine in FILES:
        engine, precision = FILES[engine][0], 'fp32'
    return load_engine(path, scale=SCALE, engine=engine, precision=precision)


def device_of(engine: str) -> str:
    """Where an engine computes."""
    return 'cuda' if ON_GPU and engine in ('torch', 'compile') else 'cpu'


def sgemm_rate(device: str, size: int = 2048, repeats: int = 3) -> float:
    """Floating-point operations a second of a matrix product: the best of several."""
    a, b = torch.rand(2, size, size, device=device)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)[0, 0].item()  # a number of it, so that a GPU has finished
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken)


def psnr_set5(engine: Engine) -> float | None:
    """The mean PSNR over Set5; None where the images are not there."""
    from vapsr_arch.pipeline.registration import register
    register()
    from basicsr.metrics import calculate_psnr
    pairs = [(path, REFERENCE / 'data/Set5/LR_bicubic/X4' / path.name)
             for path in sorted((REFERENCE / 'data/Set5/HR').glob('*.png'))]
    if not pairs or not all(lr.is_file() for _, lr in pairs):
        return None
    values = []
    for hr, lr in pairs:
        image = torch.from_numpy(cv2.imread(str(lr))[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        upscaled = (engine(image)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()[..., ::-1]
        truth = cv2.imread(str(hr))[:upscaled.shape[0], :upscaled.shape[1]]
        values.append(calculate_psnr(upscaled.copy(), truth, crop_border=SCALE, test_y_channel=True))
    return sum(values) / len(values)


def memory_of_this_process(path: Path, engine: str, precision: str, width: int, height: int) -> int:
    """What a fresh process takes for an image, in bytes, on a GPU what torch allocates there."""
    keep_freed_memory()
    run = load(path, engine, precision)
    run(torch.rand(1, 3, 32, 40))  # loads what is loaded once
    x = torch.rand(1, 3, height, width)
    if device_of(engine) == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        run(x)
        return torch.cuda.max_memory_allocated()
    return peak_growth(lambda: run(x))


def peak_memory(path: Path, engine: str, precision: str, size: tuple[int, int]) -> str:
    child = subprocess.run([sys.executable, __file__, '--memory-of', str(path), engine, precision, *map(str, size)],
                           capture_output=True, text=True)
    return f'{int(child.stdout.split()[-1]) / 2**20:.0f}' if child.returncode == 0 else '-'


def row(*cells: str) -> None:
    print('{:<9}{:<18}{:<6}{:<9}{:>10}{:>9}{:>10}{:>9}'.format(*cells), flush=True)


def fail(name: str, engine: str, precision: str, size: str, error: Exception) -> None:
    reason = str(error).strip().partition('\n')[0] or type(error).__name__
    print(f'{name:<9}{engine:<18}{precision:<6}{size:<9}   {reason}', flush=True)


def measure(name: str, weights: Path, engine: str, precision: str, folder: Path,
            arguments: argparse.Namespace) -> dict[str, float]:
    """Prints the rows of a network on an engine; a file to run is written into the folder.

    Returns:
        By size, the operations that a matrix product would have done in the time of an image.
    """
    products: dict[str, float] = {}
    size = ''
    try:
        path, psnr = exported(weights, engine, precision, folder) if engine in FILES else weights, None
        run = load(path, engine, precision)
        for size in arguments.sizes:
            width, height = map(int, size.split('x'))
            x, taken, rates = torch.rand(1, 3, height, width), [], []
            run(x)  # the warm-up
            for _ in range(arguments.rounds):
                rates.append(sgemm_rate(device_of(engine)))
                start = time.perf_counter()
                run(x).cpu()
                taken.append(time.perf_counter() - start)
            products[size] = median(seconds * rate for seconds, rate in zip(taken, rates))
            operations = 2 * multi_adds(build_network(weights, SCALE), SCALE, (SCALE * height, SCALE * width))
            memory = peak_memory(path, engine, precision, (width, height)) if arguments.memory else '-'
            if psnr is None and arguments.psnr and weights.parent.parent == REFERENCE:
                psnr = psnr_set5(run)  # after the first latency: some engines compile for the sizes of these images
            row(name, engine, precision, size, f'{median(taken) * 1000:.1f}', f'{products[size] / operations:.2f}', memory,
                '-' if psnr is None else f'{psnr:.3f}')
    except Exception as error:  # whatever it is, the others are still measured
        fail(name, engine, precision, size, error)
    return products


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--networks', nargs='+', choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument('--engines', nargs='+', choices=[*ENGINES, *FILES], default=[*ENGINES, *FILES])
    parser.add_argument('--precisions', nargs='+', choices=(*PRECISIONS, 'int8'), default=(*PRECISIONS, 'int8'))
    parser.add_argument('--sizes', nargs='+', metavar='WxH', default=['320x180', '960x540'], help='of the input')
    parser.add_argument('--rounds', type=int, default=5, help='images of each size')
    parser.add_argument('--no-memory', dest='memory', action='store_false', help='leave peak memory out')
    parser.add_argument('--no-psnr', dest='psnr', action='store_false', help='leave PSNR out')
    parser.add_argument('--memory-of', nargs=5, dest='memory_of', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        path, engine, precision, width, height = arguments.memory_of
        print(memory_of_this_process(Path(path), engine, precision, int(width), int(height)))
        return
    keep_freed_memory()
    machine, rate = describe_machine('cuda' if ON_GPU else 'cpu'), sgemm_rate('cpu')
    print(f'{machine["device"]}; torch {machine["torch"]}, {machine["threads"]} threads; '
          f'sgemm on the CPU: {rate / 1e9:.1f} GFLOP/s')
    row('network', 'engine', '', 'input', 'ms', 'x floor', 'MiB', 'PSNR')
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = {name: weights_of(name, folder) for name in arguments.networks}
        for engine in arguments.engines:
            able = FILE_PRECISIONS if engine in FILES else PRECISIONS
            for precision in (precision for precision in arguments.precisions if precision in able):
                products = {name: measure(name, path, engine, precision, folder, arguments) for name, path in weights.items()}
                for size in arguments.sizes:
                    against = [f'{rival} {products["VapSR"][size] / products[rival][size]:.2f}' for rival in RIVALS
                               if size in products.get('VapSR', {}) and size in products.get(rival, {})]
                    if against:
                        ratios.append(f'{engine:<18}{precision:<6}{size:<9}   ' + ', '.join(against))
    if ratios:
        print("\nVapSR's time as a multiple of the rival's:", *ratios, sep='\n')


if __name__ == '__main__':
    main()
