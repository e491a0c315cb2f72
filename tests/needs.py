"""What only some machines have. A newcomer's lacks it and goes on; `.ci/run` installs all of it and
fails on any test that was skipped."""

from __future__ import annotations

import shutil

import pytest


def program(name: str, *elsewhere: str) -> str:
    """Return the path of an installed program, or skip the test that cannot do without."""
    found = shutil.which(name) or next((p for p in elsewhere if shutil.which(p)), None)
    if found is None:
        pytest.skip(f"{name} is not installed here: .ci/run installs it")
    return found
