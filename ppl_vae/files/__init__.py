"""Files and folders: replaced whole or not at all, seen to be what was written, and where they seem to be."""

from ppl_vae.files.inside import folder, is_there, no_way_out
from ppl_vae.files.manifest import read, verify
from ppl_vae.files.replace import replacing, sync

__all__ = ["folder", "is_there", "no_way_out", "read", "replacing", "sync", "verify"]
