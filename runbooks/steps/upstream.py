"""Way A by the upstream's own deploy script: how it is called, and what it leaves to be mended.

What is known of it (facts/vigilops.md, part 2 A): it ends with 0 although health or the admin
failed; its .env has no AGENT_TOKEN_HMAC_KEY and names neither database nor Redis; its compose file
starts four workers and an alembic chain that is broken. So its exit code is not believed, its .env
is completed, and our compose file takes the place of its own, under the same project.
"""

from __future__ import annotations

import shlex
from dataclasses import replace

from adapters.port import Fault, Permanent
from runbooks.compose import Instance, Laid

HOME = "/opt/.vigilbot"
"""Not the instance's directory: the script clones into that, which must be empty."""

SCRIPT = f"{HOME}/deploy.sh"
RUNNING = 75
"""Exit code that says: an earlier call has not ended."""

_WRAPPER = (
    'IFS= read -r key || :; [ -z "$key" ] || set -- "$@" --ai-key "$key"; unset key; . "$0" "$@"'
)
"""The key comes on stdin, and the script is sourced: it is in no process list, ours or theirs."""


def laying() -> str:
    """Return the command that takes the script on stdin."""
    return f"umask 077 && mkdir -p {HOME} && cat >{SCRIPT}"


def calling(instance: Instance, domain: str, ai_model: str, ai_url: str) -> str:
    """Return the command that runs the script, one call at a time."""
    flags = [
        *(("--domain", domain) if domain else ()),
        *("--port", str(instance.frontend)),
        *("--backend-port", str(instance.backend)),
        *("--ai-model", ai_model),
        *("--ai-base", ai_url),
        *("--install-dir", instance.directory),
    ]
    words = ["bash", "-c", _WRAPPER, SCRIPT, *flags]
    return f"flock -n -E {RUNNING} {HOME}/deploy.lock {shlex.join(words)}"


def reading(instance: Instance) -> str:
    """Return the command that prints the .env; nothing when there is none."""
    where = shlex.quote(f"{instance.directory}/.env")
    return f"if [ -f {where} ]; then cat {where}; fi"


def mended(env: str) -> bool:
    """Was this .env completed already? Then the script has done its part."""
    return "AGENT_TOKEN_HMAC_KEY" in pairs(env)


def pairs(env: str) -> dict[str, str]:
    """Return the settings of an .env."""
    lines = (line.partition("=") for line in env.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, sign, value in lines if sign}


def merged(laid: tuple[Laid, ...], env: str, generation: str) -> tuple[Laid, ...]:
    """Return our files with the script's .env completed: what it has stays, what it lacks is ours.

    Raises Permanent when its database is called otherwise than backup and admin expect.
    """
    theirs = pairs(env)
    for name in ("POSTGRES_DB", "POSTGRES_USER"):
        if theirs.get(name, generation).strip("'\"") != generation:
            raise Permanent(
                f"部署脚本写出的 {name} 不是 {generation}，备份和管理员账号无法配置："
                "请更正脚本，或在配置文件里清空 artifacts.deploy_script 使用自带的部署方式",
                fault=Fault.COMMAND,
            )
    return tuple(_completed(file, env, theirs) if file.name == ".env" else file for file in laid)


def _completed(ours: Laid, env: str, theirs: dict[str, str]) -> Laid:
    lacking = [
        line for line in ours.text.splitlines() if line and line.partition("=")[0] not in theirs
    ]
    return replace(ours, text="\n".join((env.rstrip("\n"), *lacking)) + "\n")
