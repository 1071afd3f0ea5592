"""CT with less radiation and less contrast agent, and the proof that nothing was lost.

Research and quality-assurance software. Not a medical device.
"""

import os

__version__ = "0.1.0"

# numba would take the threads of openvino's private TBB where that was loaded first; each keeps to its own.
os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
