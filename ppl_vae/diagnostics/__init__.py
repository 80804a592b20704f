"""Is this guide any good? Evidence, k̂, latent units, calibration, gradients; all in nats per datum."""

from ppl_vae.diagnostics.aggregate import aggregate
from ppl_vae.diagnostics.annealing import ais, bracket
from ppl_vae.diagnostics.calibration import Calibration, calibrate
from ppl_vae.diagnostics.checks import PredictiveChecks, predictive_checks
from ppl_vae.diagnostics.codes import Encoding, encodings
from ppl_vae.diagnostics.collapse import CollapseAlarm
from ppl_vae.diagnostics.disentanglement import disentanglement
from ppl_vae.diagnostics.evaluation import Evaluation, evaluate
from ppl_vae.diagnostics.evidence import Evidence, StreamingEvidence
from ppl_vae.diagnostics.gaps import gaps
from ppl_vae.diagnostics.gradients import GradientReport, gradients
from ppl_vae.diagnostics.pareto import pareto_k
from ppl_vae.diagnostics.probe import linear_probe
from ppl_vae.diagnostics.samples import sample_quality

__all__ = [
    "Calibration",
    "CollapseAlarm",
    "Encoding",
    "Evaluation",
    "Evidence",
    "GradientReport",
    "PredictiveChecks",
    "StreamingEvidence",
    "aggregate",
    "ais",
    "bracket",
    "calibrate",
    "disentanglement",
    "encodings",
    "evaluate",
    "gaps",
    "gradients",
    "linear_probe",
    "pareto_k",
    "predictive_checks",
    "sample_quality",
]
