"""Live sound: a model that hears a microphone, a stream or a recording, and says what it hears when it hears it."""
