"""Numbers out of a GLB file."""

import numpy as np
import pygltflib


def accessor(document, index):
    """The values of an accessor, sparse or not."""
    item = document.accessors[index]
    blob = document.binary_blob()
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[item.type]
    kinds = {
        pygltflib.FLOAT: np.float32,
        pygltflib.UNSIGNED_SHORT: np.uint16,
        pygltflib.UNSIGNED_INT: np.uint32,
    }

    def read(view, kind, count):
        start = document.bufferViews[view].byteOffset
        return np.frombuffer(blob, kind, count, start)

    values = np.zeros((item.count, width), kinds[item.componentType])
    if item.bufferView is not None:
        values = (
            read(item.bufferView, kinds[item.componentType], item.count * width).reshape(-1, width).copy()
        )
    if item.sparse is not None:
        sparse = item.sparse
        rows = read(sparse.indices.bufferView, kinds[sparse.indices.componentType], sparse.count)
        values[rows] = read(sparse.values.bufferView, np.float32, sparse.count * width).reshape(-1, width)
    if item.normalized and item.componentType == pygltflib.UNSIGNED_SHORT:
        values = values / 65535
    return values


def animated(document):
    """What an animation sets, by channel: (times (T,), values (T, ...))."""
    (animation,) = document.animations
    channels = {}
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        times = accessor(document, sampler.input).ravel()
        channels[channel.target.path] = times, accessor(document, sampler.output).reshape(len(times), -1)
    return channels
