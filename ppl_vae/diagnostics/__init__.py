"""Is this guide any good? Evidence, k̂, latent units, calibration, gradients; all in nats per datum."""

from ppl_vae.diagnostics.annealing import ais, bracket
from ppl_vae.diagnostics.calibration import Calibration, calibrate
from ppl_vae.diagnostics.evaluation import Evaluation, evaluate
from ppl_vae.diagnostics.evidence import Evidence, StreamingEvidence
from ppl_vae.diagnostics.gaps import gaps
from ppl_vae.diagnostics.gradients import GradientReport, gradients
from ppl_vae.diagnostics.pareto import pareto_k

__all__ = [
    "Calibration",
    "Evaluation",
    "Evidence",
    "GradientReport",
    "StreamingEvidence",
    "ais",
    "bracket",
    "calibrate",
    "evaluate",
    "gaps",
    "gradients",
    "pareto_k",
]
