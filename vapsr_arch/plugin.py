"""The one import for a training script of one's own: `import vapsr_arch.plugin`.

It makes BasicSR importable on today's torch, and registers the networks, the model and the data sets of this package with
BasicSR's registries. Nothing of BasicSR is replaced: `basicsr.train.train_pipeline` stays BasicSR's own.
"""

from vapsr_arch.pipeline.registration import register

register()
