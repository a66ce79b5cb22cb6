"""The outside world to and from tensors: pictures, crops, found faces, landmarks and exported meshes."""
