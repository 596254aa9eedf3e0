"""python -m samplecnn, and the command samplecnn."""

import sys


def main() -> None:
    """Runs the command line; Ctrl-C while it is being imported ends it as quietly as later."""
    try:
        from samplecnn.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
