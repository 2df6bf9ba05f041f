"""Ends running programs when this process is gone, however it went: by `kill -9`, or with its terminal.

A program has a session of its own, so nothing else would end it: it would go on to write what the next run of this
process has made anew. Nobody can act after `kill -9` but another process. So there is one shell, as of the first
program, which reads from a pipe whose are running; when the pipe ends, this process has, and they are killed with all
that is in their sessions. It is nobody's child, so that who waits for any child of his does not wait for it. The other
way, to have the kernel send a signal when the parent dies (prctl PR_SET_PDEATHSIG), means the thread that has started
it, reaches no grandchild, and takes a fork of all memory.

Lives here: `watch` and `forget`.

Must not know: how programs are started, what they are for.
"""

from __future__ import annotations

import os
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock
from typing import Final

__all__ = ["forget", "watch"]

_WATCHING: Final = """
exec 3<&0
(
    trap '' HUP INT QUIT TERM
    set --
    while read -r what leader; do
        if [ "$what" = + ]; then
            set -- "$@" "$leader"
        else
            left=
            for one; do [ "$one" = "$leader" ] || left="$left $one"; done
            set -- $left
        fi
    done
    [ $# -gt 0 ] || exit 0
    leaders=" $* "
    for one; do kill -9 "-$one"; done
    # Others of their sessions: `timeout` has a process group of its own. The name of a program may hold brackets.
    for stat in /proc/[0-9]*/stat; do
        read -r line <"$stat" || continue
        set -- ${line##*) }
        case "$leaders" in *" $4 "*) kill -9 "${line%% *}" ;; esac
    done
) <&3 >/dev/null 2>&1 3<&- &
"""
"""Lines "+ 123" and "- 123": the program that leads session 123 has been started, has ended."""


class _Watch:
    """The shell that watches over this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._leaders: set[int] = set()
        self._pipe = -1
        if hasattr(os, "register_at_fork"):
            # Else a forked process would keep the pipe open when this one is gone.
            os.register_at_fork(after_in_child=self._forked)

    def add(self, leader: int) -> None:
        with self._lock:
            self._leaders.add(leader)
            if self._pipe < 0:
                self._begin()
            else:
                self._write(f"+ {leader}\n")

    def remove(self, leader: int) -> None:
        with self._lock:
            self._leaders.discard(leader)
            self._write(f"- {leader}\n")

    def _begin(self) -> None:
        self._pipe = -1
        # The shell ends at once, and what it has put into the background goes on.
        with Popen(
            ["/bin/sh", "-c", _WATCHING], stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        ) as shell:
            assert shell.stdin is not None
            self._pipe = os.dup(shell.stdin.fileno())
        for leader in self._leaders:
            os.write(self._pipe, f"+ {leader}\n".encode())

    def _write(self, line: str) -> None:
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, line.encode())
        except OSError:  # somebody has killed it
            os.close(self._pipe)
            with suppress(OSError):
                self._begin()

    def _forked(self) -> None:
        self._lock = Lock()
        self._leaders.clear()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


_WATCH: Final = _Watch()


def watch(leader: int) -> None:
    """A program was started.

    Args:
        leader: The id of its process, which leads a session.
    """
    with suppress(
        OSError
    ):  # without a shell, or a descriptor, it is as it was before: who is killed leaves it behind
        _WATCH.add(leader)


def forget(leader: int) -> None:
    """A program has ended, or was killed with all of its session."""
    _WATCH.remove(leader)
