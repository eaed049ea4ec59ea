"""moerec: a Mixture-of-Experts transformer recommender, from interaction log to live answers."""

__version__ = "0.1.0"
