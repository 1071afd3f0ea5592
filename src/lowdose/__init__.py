"""CT with less radiation and less contrast agent, and the proof that nothing was lost.

Research and quality-assurance software. Not a medical device.
"""

__version__ = "0.1.0"
