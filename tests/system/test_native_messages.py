"""What libraries in C write to the standard error, and whose it is."""

import os

import pytest

from samplecnn.system.native_messages import Messages, attributed, caught

pytestmark = pytest.mark.skipif(os.name != "posix", reason="messages are caught on POSIX systems only")


def test_messages_that_came_while_several_were_read_are_attributed_to_one(capfd):
    def read(name):
        if name == "b":
            os.write(2, b"Warning: odd\n")
            raise ValueError("and damaged")

    messages = Messages(-1)
    messages.found = {("a", "b", "c"): ["Warning: odd"], ("b",): ["Warning: odd", "Note: more"], ("d", "e"): ["gone"]}
    with capfd.disabled():
        found = attributed(messages, read, most=5)
        limited = attributed(messages, read, most=2)
    assert found == {"b": ["Warning: odd", "Note: more"], "d, e": ["gone"]}
    assert limited == {"a, b, c": ["Warning: odd"], "b": ["Warning: odd", "Note: more"], "d, e": ["gone"]}


def test_caught_messages_know_what_was_read(capfd):
    with capfd.disabled(), caught() as messages:
        with messages.reading("one"), messages.reading("two"):
            os.write(2, b"first\n")
        with messages.reading("three"):
            os.write(2, b"second\n")
    assert messages.found == {("one", "two"): ["first"], ("three",): ["second"]}
