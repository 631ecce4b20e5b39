"""The process that runs a notebook's cells: this very Python, reached through socket files."""

import os
import sys
import tempfile

from cprlib.store.files import SOCKET_BYTES, socket_folder


def this_python(sockets: str) -> type:
    """A kernel manager that starts this interpreter, whatever kernels Jupyter knows by name.

    It talks through socket files in the folder `sockets`: of two runners that start at once, one
    could take the network port that the other has just picked.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPython(AsyncKernelManager):
        @default("transport")
        def _transport(self) -> str:
            short = len(os.fsencode(sockets)) + len("/kernel-ipc-99999") < SOCKET_BYTES
            return "ipc" if os.name == "posix" and short else "tcp"

        @default("connection_file")
        def _connection_file(self) -> str:
            return os.path.join(sockets, "kernel.json")

        @property
        def kernel_spec(self) -> KernelSpec:
            options = ["-f", "{connection_file}", "--log-level=CRITICAL"]
            command = [sys.executable, "-m", "ipykernel_launcher", *options]
            env = {"CPR_BATCH": "1"}  # lines, not bars: see cprlib.store.progress
            if socket_folder() != tempfile.gettempdir():
                env["TMPDIR"] = socket_folder()  # for the sockets of its own processes
            return KernelSpec(argv=command, env=env, display_name="Python", language="python")

    return ThisPython
