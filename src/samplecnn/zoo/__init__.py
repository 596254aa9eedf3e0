"""Packaged models: trained models that come with samplecnn and are used by name.

`packaged.py` finds them, `card.py` writes their cards. Each is a folder here with config.json, model.safetensors and
card.md, made by a script in zoo/ of the repository.
"""
