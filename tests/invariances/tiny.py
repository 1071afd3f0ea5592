"""Sizes of a representation and a flow that learn in a moment."""

from lowdose.invariances.flow import FlowSizes
from lowdose.invariances.representation import RepresentationSizes

TINY = RepresentationSizes(encoder_width=12, decoder_width=4, critic_width=4, first=8, latents=128)
TINY_FLOW = FlowSizes(n_blocks=2, hidden=16, condition=8, embedding_width=4)
