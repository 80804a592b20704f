"""A task in a process of its own: forked from a warm one, watched, limited in time and memory, and gone afterwards.

What the task does beyond computing is noted by an audit hook (PEP 578), which sees what Python code does whatever it is
called: processes started, pickles loaded, code compiled from a given folder, addresses asked for, files opened for
writing outside the folders where the task may write. C libraries are seen by their traces: files are compared before
and after.
"""

import contextlib
import gc
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Watch:
    """Where a task runs and what it may do.

    Args:
        cwd: the working directory.
        hostile: folders whose code may not run.
        writable: folders in which it may write.
        environment: variables that are set (None: that are not).
        seconds: of the clock, after which it is ended: for what waits. Others may be using the machine.
        processor: seconds of the processor, after which it is ended.
        memory: bytes that may be taken beside what the warm process holds.
        fence: the folder outside of which nothing is done: what would be is noted, and refused.
    """

    cwd: Path
    hostile: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 300.0
    processor: int = 60
    memory: int = 3 * GIGABYTE
    fence: Path | None = None


@dataclass(frozen=True)
class Seen:
    """What a task did.

    Attributes:
        value: what it returned, through JSON; None where it came to no end.
        ended: empty where it came to an end; else `time`, `signal 9`, or the exit code of a process that left.
        out: standard output.
        err: standard error.
        events: what the hook saw: a kind (`code`, `network`, `outside`) and what.
        seconds: of the clock.
        grown: bytes of memory that it held at most.
    """

    value: Any
    ended: str
    out: str
    err: str
    events: list[tuple[str, str]]
    seconds: float
    grown: int


def in_child(task: Callable[[], Any], watch: Watch) -> Seen:
    """Run one task; see `in_children`."""
    return next(seen for _, seen in in_children([("", task, watch)], 1))


def in_children(tasks: Iterable[tuple[Any, Callable[[], Any], Watch]], workers: int = 1) -> Iterator[tuple[Any, Seen]]:
    """Run tasks, several at a time; give each as it ends, with the name that it was given."""
    waiting = iter(tasks)
    running: list[_Child] = []
    gc.freeze()  # what is there stays where it is: pages stay shared
    try:
        while True:
            while len(running) < workers and (task := next(waiting, None)) is not None:
                running.append(_Child(*task))
            if not running:
                return
            for child in [child for child in running if child.done()]:
                running.remove(child)
                yield child.name, child.seen()
            time.sleep(0.002)
    finally:
        gc.unfreeze()
        for child in running:
            child.end()


class _Child:
    def __init__(self, name: Any, task: Callable[[], Any], watch: Watch) -> None:
        self.name, self.watch = name, watch
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - closed when they have been read
        self._ended: str | None = None
        self._began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be(task, watch, [file.fileno() for file in self._files])
        self._grown = 0

    def done(self) -> bool:
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0 and time.monotonic() - self._began > self.watch.seconds:
            self._ended = "time"
            self.end()
            return True
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self._grown = usage.ru_maxrss * 1024
            if code == -signal.SIGXCPU:
                self._ended = "time"
            else:
                self._ended = "" if code == 0 else f"signal {-code}" if code < 0 else f"exit {code}"
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # what it started and left behind
        return bool(pid)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def seen(self) -> Seen:
        told, out, err = (_read(file) for file in self._files)
        ended, value, events = self._ended or "", None, []
        for line in told.splitlines():
            with contextlib.suppress(ValueError):  # torn by the end
                found = json.loads(line)
                if "event" in found:
                    events.append((str(found["event"][0]), str(found["event"][1])))
                else:
                    value = found["value"]
        seconds = time.monotonic() - self._began
        return Seen(value, ended, out, err, list(dict.fromkeys(events)), seconds, self._grown)


def _read(file: Any) -> str:
    file.seek(0)
    with file:
        return str(file.read().decode(errors="replace"))


def _be(task: Callable[[], Any], watch: Watch, files: list[int]) -> None:
    """The child: never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(files[1], 1)
        os.dup2(files[2], 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True, errors="backslashreplace")
        for name, value in watch.environment.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        sys.path[:] = [path for path in sys.path if path]  # no folder where a process happens to be
        tempfile.tempdir = None
        os.chdir(watch.cwd)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + watch.memory, resource.RLIM_INFINITY))
        limit = watch.processor + int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        tell = _Tell(files[0])
        sys.addaudithook(_Hook(watch, tell))
        value = task()
        tell(value=value)
        sys.stdout.flush()
        sys.stderr.flush()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


class _Tell:
    def __init__(self, file: int) -> None:
        self._file = file

    def __call__(self, **said: Any) -> None:
        os.write(self._file, (json.dumps(said, default=str) + "\n").encode())


_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "pty.spawn", "subprocess.Popen")
_ASKS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
_CHANGES = {
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.link": ((1, 3),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
"""Of each event, the arguments that are paths, and those that are the folders these are relative to."""

HARMLESS = ("git", "lscpu", "uname", "ldconfig", "gcc")
"""Programs that Python and the packages ask for facts of the machine; git is given traps of its own."""


class _Hook:
    """What is worth noting of the interpreter's events."""

    def __init__(self, watch: Watch, tell: _Tell) -> None:
        self._hostile = tuple(os.path.realpath(path) + os.sep for path in watch.hostile)
        self._writable = tuple(os.path.realpath(path) + os.sep for path in watch.writable)
        self._fence = "" if watch.fence is None else os.path.realpath(watch.fence) + os.sep
        self._tell = tell
        self._busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        said = None
        try:
            said = self._of(event, arguments)
            if said is not None:
                self._tell(event=said)
        except Exception as error:
            self._tell(event=("hook", repr(error)))
        finally:
            self._busy = False
        if said is not None and self._fence and (said[0] == "network" or self._is_beyond(said)):
            raise PermissionError(f"the harness lets nobody out: {said[0]} {said[1]}")

    def _is_beyond(self, said: tuple[str, str]) -> bool:
        return said[0] == "outside" and not said[1].partition(" ")[2].startswith(self._fence)

    def _of(self, event: str, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
        if event in _STARTS:
            program = arguments[0] if event != "subprocess.Popen" else (arguments[0] or arguments[1])
            named = os.path.basename(os.fsdecode(program[0] if isinstance(program, (list, tuple)) else program))
            return None if event != "os.system" and named in HARMLESS else ("code", f"{event} {arguments[:2]}")
        if event in _ASKS:
            told = repr(arguments[1:] if event == "socket.connect" else arguments)
            return ("network", f"{event} {told}")
        if event == "pickle.find_class" and not _is_own(arguments):
            return ("code", f"unpickled {arguments[0]}.{arguments[1]}")
        if event in ("exec", "compile"):
            name = getattr(arguments[0], "co_filename", None) if event == "exec" else arguments[1]
            if isinstance(name, (str, bytes)) and name[:1] not in ("<", b"<") and self._is_hostile(os.fsdecode(name)):
                return ("code", f"{event} {os.fsdecode(name)}")
        if event == "ctypes.dlopen" and isinstance(arguments[0], str) and self._is_hostile(arguments[0]):
            return ("code", f"dlopen {arguments[0]}")
        if event == "open":
            return self._opened(*arguments)
        for place, base in _CHANGES.get(event, ()):
            folder = -1 if base is None or base >= len(arguments) else arguments[base]
            if event == "os.mkdir" and os.path.lexists(arguments[place]):
                continue  # which fails
            outside = self._outside(arguments[place], folder, final=event in ("os.truncate", "os.chmod", "os.utime"))
            if outside:
                return ("outside", f"{event} {outside}")
        return None

    def _opened(self, path: Any, mode: Any, flags: Any) -> tuple[str, str] | None:
        writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else False
        writes = writes or bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        if not writes or isinstance(path, int):
            return None
        exclusive = isinstance(flags, int) and flags & (os.O_EXCL | os.O_NOFOLLOW)  # which follow no link
        outside = self._outside(path, -1, final=not exclusive)
        return ("outside", f"open {outside}") if outside else None

    def _is_hostile(self, name: str) -> bool:
        return os.path.realpath(name).startswith(self._hostile)

    def _outside(self, path: Any, folder: Any, final: bool) -> str:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(path):
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        path = os.path.abspath(path)
        real = os.path.realpath(path) if final else os.path.join(os.path.realpath(os.path.dirname(path)), "x")
        within = f"{real}{os.sep}".startswith(self._writable) or real.startswith(("/dev/", "/proc/self/"))
        return "" if within else (real if final else path)


_OWN = ("torch", "numpy", "ppl_vae", "pyro", "collections", "builtins", "sympy", "functools", "copyreg", "_codecs")


def _is_own(arguments: tuple[Any, ...]) -> bool:
    """Copies that torch makes of its own objects by pickling them; what they may not name is noted."""
    module, name = str(arguments[0]), str(arguments[1])
    if module == "builtins":
        return name in ("getattr", "set", "dict", "list", "tuple", "int", "float", "complex", "frozenset", "slice")
    return module.split(".")[0] in _OWN
