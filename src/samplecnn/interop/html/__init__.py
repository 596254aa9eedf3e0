"""Models as one HTML file, which tags and listens in a browser without a network and without samplecnn."""
