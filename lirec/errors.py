"""The one error that lirec raises for bad input."""


class LirecError(ValueError):
    """Something given to lirec cannot be used: a picture, a folder, a weight file, a setting.

    The message is one sentence for the person who gave it: what is wrong and what to do about it. Programs
    that face users (the app, the command lines) show it as it is, without a traceback.
    """
