"""What the workers of the tests do."""

import os
import signal
import sys
import time

from samplecnn.errors import AudioError, UsageError


def echo(order, data, answer):
    answer(order, data)
    answer(len(data))


def count(order, data, answer):
    for number in range(order):
        answer(number)


def noise(order, data, answer):
    os.write(1, b"noise on the standard output\n")
    os.write(2, b"noise on the standard error\n")
    print("complaint", file=sys.stderr, flush=True)
    answer("sound")


def fail(order, data, answer):
    answer("begun")
    if order == "usage":
        raise UsageError("no such thing; use another")
    if order == "audio":
        raise AudioError("a.wav: empty")
    if order == "system":
        raise OSError(28, "No space left on device", "/full/disk")
    if order == "memory":
        bytes(1 << 31)
    if order == "bug":
        raise ZeroDivisionError("odd")
    if order == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order == "exit":
        print("the last words", file=sys.stderr, flush=True)
        os._exit(7)
    if order == "loop":
        while True:
            pass
    if order == "sleep":
        time.sleep(600)


def pid(order, data, answer):
    answer(os.getpid())
    time.sleep(600)
