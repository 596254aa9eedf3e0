"""samplecnn doctor: checks the installation and the machine."""

import typer

from samplecnn.cli.shared import AsJson, print_description


def doctor(json: AsJson = False) -> None:
    """Check this installation: versions, extras, CPU, precision, sound formats, disk; exit code 1 for a problem."""
    from samplecnn.info.machine import MachineDescription

    machine = MachineDescription.of()
    print_description(machine, json)
    if machine.problems:
        raise typer.Exit(1)
