"""Remarks on attempts where a ratio is not reached."""

__all__ = ["REMARKS"]

_ATTENTION = (
    "What was tried with torch's functions alone: queries, keys and values made once an atom, "
    "filters once for an edge and its reverse; derivatives by hand, block by block in the cache "
    "(blocks of 200 to 20,000 kB); second derivatives by dual numbers, and written out (68 in "
    "place of 52 ns an edge and channel, so not taken); heads summed by matrix products, and as an "
    "axis of their own; radial functions left out that no distance reaches (half the products of "
    "radial features). torch.compile made it 1.6 times as fast; the kernels in C took its place. "
    "What is left without them is operations that each read and write all edges of a block. In two "
    "earlier runs of the row of 64x3 the plain reference varied from 69 to 122 crystals/s, ours "
    "from 104 to 113."
)
_SMALL = (
    "What was tried with torch's functions alone: blocks of 200 to 20,000 kB; sigmoids kept for "
    "the derivatives or made anew; features of low rank. SiLU is cheaper than softplus for the "
    "plain reference too, and the envelope costs us a sum over channels."
)

REMARKS = {
    "cgcnn_64x3_forces_default": _SMALL,
    "et_64x3_forces": _ATTENTION,
    "et_128x4_forces": _ATTENTION,
    "et_64x3_forces_default": _ATTENTION,
    "et_128x4_forces_default": _ATTENTION,
}
