"""What all tests share."""

import os

# As the command line does it, and as early: before a test imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
