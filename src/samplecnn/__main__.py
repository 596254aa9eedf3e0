"""python -m samplecnn."""

from samplecnn.cli.app import main

if __name__ == "__main__":
    main()
