"""Starts the kernel of one notebook so that it cannot outlive the process that manages it.

Run as a file (not with -m), in the interpreter of the runner: `python launcher.py -f connection.json ...`.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def die_with_parent(parent: int) -> bool:
    """Ask Linux to kill this process when its parent's thread ends; True where that is possible.

    ipykernel's own watch on its parent is a Python thread: code that holds the interpreter lock stops it. The kernel
    (of the operating system) cannot be held up. `parent` is the expected parent's process id: when that process is
    gone already, nothing would ever signal, so this process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    done = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    if os.getppid() != parent:
        os._exit(1)
    return done


def main() -> None:
    """Tie the kernel to its parent, then become an ordinary IPython kernel."""
    here = os.path.dirname(os.path.abspath(__file__))
    # a script's folder comes first on the path: modules of this package must not be importable by their bare names
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
