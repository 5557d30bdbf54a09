"""Interactive shells on a pseudo-terminal that complete what is typed, as for a person who presses the tab key."""

import os
import pathlib
import pty
import select
import subprocess
import threading
import time

# Each writes to $RESULTS what it offers, a line "offer TEXT" each, and behind it "line" with what the command line has become.
# The line is handed back and cleared by ^X and the letter d.
BASH = r"""
PS1='' PROMPT_COMMAND='echo ready >>"$RESULTS"; PROMPT_COMMAND='
bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'
source "$SCRIPTS/ssgpt.bash"
offer() { _ssgpt; local one; for one in "${COMPREPLY[@]}"; do printf 'offer %s\n' "$one" >>"$RESULTS"; done; }
hand_back() { printf 'line %s\n' "$READLINE_LINE" >>"$RESULTS"; READLINE_LINE='' READLINE_POINT=0; }
complete -F offer ssgpt
bind -x '"\C-xd": hand_back'
"""
ZSH = r"""
PS1='' LISTMAX=100000
precmd() { print ready >>$RESULTS; precmd() { }; }
fpath=($SCRIPTS $fpath)
autoload -Uz compinit
compinit -D -u
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a offered
  builtin compadd -A offered "$@"
  if (($#offered)); then print -rl -- "offer $IPREFIX"${^offered} >>$RESULTS; fi
  builtin compadd "$@"
}
hand-back() { print -r -- "line $BUFFER" >>$RESULTS; BUFFER=''; }
zle -N hand-back
bindkey '^Xd' hand-back
"""
COMMANDS = {"bash": ["bash", "--noprofile", "--rcfile", "rc", "-i"], "zsh": ["zsh", "-d", "-i"]}
SETUPS = {"bash": ("rc", BASH), "zsh": (".zshrc", ZSH)}
SECONDS = 120


class Typed:
    """A shell in which command lines are typed. scripts: a folder with ssgpt.bash and _ssgpt; directory: where the shell is."""

    def __init__(self, shell, scripts, directory, own):
        self._results = pathlib.Path(own) / "results"
        self._results.touch()
        self._answered = 0
        name, text = SETUPS[shell]
        (pathlib.Path(own) / name).write_text(text)
        command = [str(pathlib.Path(own) / word) if word == name else word for word in COMMANDS[shell]]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(own), "ZDOTDIR": str(own), "TERM": "dumb", "LC_ALL": "C.UTF-8",
                       "INPUTRC": "/dev/null", "SCRIPTS": str(scripts), "RESULTS": str(self._results)}
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(command, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave,
                                         start_new_session=True)
        os.close(slave)
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()
        self._wait("ready")

    def complete(self, line):
        """What is offered for the last word, and what the line becomes; the cursor is at its end."""
        os.write(self._master, f"{line}\t\x18d".encode())
        lines = self._wait("line ")
        return [one.removeprefix("offer ") for one in lines[:-1]], lines[-1].removeprefix("line ")

    def close(self):
        self._ended.set()
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    def _drain(self):
        """What the terminal shows is not looked at, but a shell that cannot write waits."""
        while not self._ended.is_set():
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    os.read(self._master, 65536)
                except OSError:  # the shell has ended
                    return

    def _wait(self, last):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            text = self._results.read_text()
            lines = text.splitlines()[self._answered :]
            if text.endswith("\n") and lines and lines[-1].startswith(last):
                self._answered += len(lines)
                return lines
            assert self._process.poll() is None, "the shell has ended"
            time.sleep(0.005)
        raise AssertionError(f"no answer from the shell: {lines}")


class Fish:
    """The same of fish, which says by itself what it would offer; the line is not completed."""

    def __init__(self, scripts, directory, own):
        self._script = pathlib.Path(scripts) / "ssgpt.fish"
        self._directory = directory
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(own), "LC_ALL": "C.UTF-8"}

    def complete(self, line):
        command = 'source $argv[1]; complete -C "$argv[2]"'
        process = subprocess.run(["fish", "--no-config", "-c", command, self._script, line], cwd=self._directory, check=True,
                                 env=self._environment, capture_output=True, text=True, timeout=SECONDS)
        assert process.stderr == ""
        return [one.split("\t")[0] for one in process.stdout.splitlines()], None

    def close(self):
        pass
