"""Runs commands of the program in a process that has LibTorch loaded already (tests/tools/fork_server.cpp)."""

import json
import pathlib
import subprocess
import tempfile


class ForkServer:
    """Runs one command after the other, each in a child of its own: milliseconds, where a start takes some hundred.

    binary: ssgpt_fork_server. seconds: time after which SIGALRM ends a command. environment: that of all commands."""

    def __init__(self, binary, seconds, environment):
        self._output = tempfile.TemporaryDirectory(prefix="ssgpt-fork-server-")
        self._process = subprocess.Popen([binary, self._output.name, str(seconds)], env=environment, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._output.cleanup()

    def run(self, arguments, directory):
        """The server's answer, {"code", "signal", "seconds", "max_rss"}, and the bytes written to stdout and to stderr."""
        request = {"arguments": list(map(str, arguments)), "directory": str(directory)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        folder = pathlib.Path(self._output.name)
        return answer, (folder / "stdout").read_bytes(), (folder / "stderr").read_bytes()
