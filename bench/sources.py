"""How many alerts a second each source's decoder makes of what a monitor posts, on one core.

    .venv/bin/python -m bench.sources [SECONDS]

The samples are those of the tests; Alertmanager's is repeated to 1, 10, 100 and 1,000 alerts a post.
Time is the process' own, so that a busy machine counts less.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from adapters.sources import SOURCES
from adapters.words import Alert
from bench.table import show

GOLDEN = Path(__file__).parents[1] / "tests/golden/sources"
NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
SAMPLES = {
    "grafana": "firing.json",
    "nightingale": "array.json",
    "zabbix": "problem.json",
    "aliyun": "alert.form",
    "tencent": "metric.json",
    "huawei": "alarm.json",
    "vigilops": "first.json",
}


def posts() -> Iterator[tuple[str, str, bytes]]:
    webhook = json.loads((GOLDEN / "alertmanager/firing.json").read_bytes())
    alerts = webhook["alerts"]
    for count in (1, 10, 100, 1000):
        many = {**webhook, "alerts": (alerts * count)[:count]}
        yield "alertmanager", f"{count} alerts", json.dumps(many, ensure_ascii=False).encode()
    slow = {**webhook, "alerts": alerts * 33, "receiver": "\x1b"}
    yield "alertmanager", "99, to be cleaned", json.dumps(slow).encode()
    for name, file in SAMPLES.items():
        yield name, file, (GOLDEN / name / file).read_bytes()


def rate(
    decode: Callable[[bytes, datetime], tuple[Alert, ...]], body: bytes, seconds: float
) -> float:
    """Return alerts per second of CPU."""
    done, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        done += len(decode(body, NOW))
    return done / spent


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    rows = [
        (name, what, f"{len(body):,}", f"{rate(SOURCES[name].decode, body, seconds):,.0f}")
        for name, what, body in posts()
    ]
    show("Decoding what monitors post", ("source", "post", "bytes", "alerts per CPU-second"), rows)


if __name__ == "__main__":
    main()
