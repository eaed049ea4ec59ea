"""What all tests share."""

import os

# As the command line does it, and as early: before a test imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Each core has a worker of pytest already: the threads of NumPy would wait for cores, spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
