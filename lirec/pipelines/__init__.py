"""What a user calls: pictures in, faces and pictures out."""
