"""Is this guide any good? Evidence, k̂, latent units, calibration, gradients; all in nats per datum."""

from ppl_vae.core.evidence import Evidence, StreamingEvidence, pareto_k
from ppl_vae.diagnostics.aggregate import aggregate
from ppl_vae.diagnostics.calibration import Calibration, calibrate
from ppl_vae.diagnostics.collapse import CollapseAlarm
from ppl_vae.diagnostics.disentanglement import disentanglement
from ppl_vae.diagnostics.evaluate import Evaluation, evaluate
from ppl_vae.diagnostics.gaps import gaps
from ppl_vae.diagnostics.gradients import GradientReport, gradients
from ppl_vae.diagnostics.latents import Encoding, encodings
from ppl_vae.diagnostics.predictive_checks import PredictiveChecks, predictive_checks
from ppl_vae.diagnostics.probe import linear_probe
from ppl_vae.diagnostics.sample_quality import sample_quality
from ppl_vae.doors import doors
from ppl_vae.mcmc.ais import ais, bracket

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

doors(__name__)
