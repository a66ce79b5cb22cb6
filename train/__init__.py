"""One readable training loop a network: `python -m train.rec_net --help`."""
