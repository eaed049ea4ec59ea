"""What all tests share."""

import os

from hypothesis import settings

# As the command line does it, and as early: before a test imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Each core has a worker of pytest already: the threads of NumPy would wait for cores, spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Other draws in each run: half as many a run find as much in two. A busy machine is no failure.
settings.register_profile("moerec", max_examples=50, deadline=None)
settings.load_profile("moerec")
