"""The original's network in Keras, layer by layer as its lib/model.py builds it, for the other programs here.

They run in an environment with TensorFlow, so samplecnn is not imported.
"""

import tensorflow as tf

layers = tf.keras.layers


def network(config, window):
    """[batch, window, 1] -> float32 logits [batch, classes]; `config` is a `ModelConfig` as a dict, with `widths`."""
    block = config["block"]

    def conv(x, features, width=3, stride=1):
        x = layers.Conv1D(features, width, strides=stride, padding="same")(x)
        return layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x)

    def excited(x, features):
        if "se" not in block:
            return x
        factors = layers.GlobalAveragePooling1D()(x)
        factors = layers.Dense(int(features * config["amplifying_ratio"]), activation="relu")(factors)
        factors = layers.Dense(features, activation="sigmoid")(factors)
        return layers.Multiply()([x, layers.Reshape((1, features))(factors)])

    def stacked(x, channels, features):
        if not block.startswith("res"):
            return excited(layers.MaxPool1D(3)(layers.ReLU()(conv(x, features))), features)
        path = conv(x, features)
        if block.endswith("2"):
            path = conv(layers.Dropout(0.2)(layers.ReLU()(path)), features)
        shortcut = x if channels == features else conv(x, features, width=1)
        return layers.MaxPool1D(3)(layers.ReLU()(layers.Add()([excited(path, features), shortcut])))

    wave = tf.keras.Input((window, 1))
    x, channels, levels = layers.ReLU()(conv(wave, config["features"], stride=3)), config["features"], []
    for features in config["widths"]:
        x, channels = stacked(x, channels, features), features
        levels.append(layers.GlobalMaxPool1D()(x))
    x = layers.Concatenate()(levels[-3:]) if config["multi"] else levels[-1]
    x = layers.Dense(x.shape[-1])(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x))
    logits = layers.Dense(config["num_classes"])(layers.Dropout(config["dropout"])(x))
    return tf.keras.Model(wave, layers.Activation("linear", dtype="float32")(logits))
