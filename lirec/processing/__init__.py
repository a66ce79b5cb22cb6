"""The outside world to and from tensors: pictures, videos, motion, crops, found faces, landmarks and meshes."""
