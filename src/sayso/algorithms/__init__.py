"""One file per algorithm, each a Learner made of shared functions."""
