"""The model hub: models by id (`cache.py`), their cards (`card.py`), uploads (`upload.py`).

A repository of the hub holds the files of a model folder, model.safetensors and config.json, and README.md, its card.
Nothing else is downloaded, and nothing is ever unpickled.
"""
