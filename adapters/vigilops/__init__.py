"""VigilOps over HTTP."""

from adapters.vigilops.client import VigilOps, VigilOpsMonitors

__all__ = ["VigilOps", "VigilOpsMonitors"]
