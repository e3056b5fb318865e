"""A provider on localhost: made-up answers on a real wire, with faults, limits and a bill. It knows nothing of dfllm.

Its answers are deterministic and fit the schema or labels asked for, but they are made up: nothing here has read
anything. It is for trying things out without a key, for tests, and for rehearsing a job.
"""

from .bill import Bill, Entry
from .faults import FAULTS, Faults
from .inprocess import InProcess, Received, Unanswered
from .limiter import RateLimits
from .manners import Manners, Outage
from .server import Simulator, serve

__all__ = [
    "FAULTS",
    "Bill",
    "Entry",
    "Faults",
    "InProcess",
    "Manners",
    "Outage",
    "RateLimits",
    "Received",
    "Simulator",
    "Unanswered",
    "serve",
]
