"""Is this guide any good? Evidence, k̂, latent units, calibration, gradients; all in nats per datum."""

from ppl_vae.diagnostics.calibration import Calibration, calibrate
from ppl_vae.diagnostics.evaluation import Evaluation, evaluate
from ppl_vae.diagnostics.evidence import Evidence, StreamingEvidence
from ppl_vae.diagnostics.gradients import GradientReport, gradients
from ppl_vae.diagnostics.pareto import pareto_k

__all__ = [
    "Calibration",
    "Evaluation",
    "Evidence",
    "GradientReport",
    "StreamingEvidence",
    "calibrate",
    "evaluate",
    "gradients",
    "pareto_k",
]
