"""What somebody leaves who changes a run or a sweep and can compute checksums: none that disagrees."""

import json
import re
from pathlib import Path

from ppl_vae.files.manifest import MANIFEST
from ppl_vae.files.seal import KEY

_COMMENT = re.compile(rb"\A# SHA-256 of this file, .*: [0-9a-f]{64}\n")


def forge(directory):
    """Take the checksums out of all records of the runs in a folder, as in runs of before there were any."""
    for path in Path(directory).rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**23:
            continue
        if path.name == MANIFEST:
            path.unlink()
        elif path.suffix == ".json":
            try:
                found = json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and KEY in found:
                del found[KEY]
                path.write_text(json.dumps(found))
        elif path.suffix == ".yaml":
            content = path.read_bytes()
            if (kept := _COMMENT.sub(b"", content)) != content:
                path.write_bytes(kept)
