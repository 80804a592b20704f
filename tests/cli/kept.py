"""What a sweep leaves on the disk, and a process that is ended while it writes there."""

import json
import os
import signal
import time

from ppl_vae.__main__ import main

TIMES = ("started", "started_in", "finished", "seconds", "command", "resumed", "git", "error", "versions")
TIMES += ("checksum", "sums", "seal")


def untimed(value):
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in TIMES and not k.endswith("seconds")}
    return value


def kept(directory):
    """All files as far as they hold no time."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = untimed(json.loads(content))
        elif path.name == "metrics.jsonl":
            content = [untimed(json.loads(line)) for line in content.splitlines()]
        elif path.name in (".lock", "multirun.yaml", "error.txt"):
            continue
        found[path.relative_to(directory).as_posix()] = content
    return found


def gone(words, seconds):
    """The command in a process of its own, ended by SIGKILL after so long."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            main(["train", *words])
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
