"""A stand-in of VigilOps that follows what was recorded of the real one."""

from bot.demo.vigilops.app import create_app, serve
from bot.demo.vigilops.state import Row
from bot.demo.vigilops.traps import ALWAYS, Down, Generation, Limits, Traps
from bot.demo.vigilops.world import Delivery, World

__all__ = [
    "ALWAYS",
    "Delivery",
    "Down",
    "Generation",
    "Limits",
    "Row",
    "Traps",
    "World",
    "create_app",
    "serve",
]
