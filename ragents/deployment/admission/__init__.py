"""Admission: so many questions at once, then a bounded queue that is fair, then a clear refusal."""

from ragents.deployment.admission.admission import Admission
from ragents.deployment.admission.fair_queue import FairQueue, Waiting

__all__ = ["Admission", "FairQueue", "Waiting"]
