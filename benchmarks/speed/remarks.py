"""What was tried where a ratio is not reached."""

__all__ = ["REMARKS"]

_ATTENTION = (
    "What was tried: queries, keys and values made once an atom, filters once for an edge and its "
    "reverse; derivatives by hand, block by block in the cache (blocks of 200 to 20,000 kB); "
    "second derivatives by dual numbers, and written out (17 in place of 20 ns an edge and channel "
    "compiled, but 68 in place of 52 when not, so not taken); heads summed by matrix products, and "
    "as an axis of their own; channels compiled in rather than left open (20 in place of 22 ns, "
    "and 7 in place of 12 for the gradient); radial functions left out that no distance reaches "
    "(half the products of radial features). Not tried: a kernel in C++ for an edge at a time, "
    "which would read and write once what torch.compile still writes in between; whole "
    "neighbourhoods as matrix products. The ratio depends on what else fills the machine's memory "
    "bus, as the plain reference moves ten times as much: 64x3 was measured at 0.92 and 1.48 on a "
    "quiet machine too, and at 1.50 and 2.44 beside other jobs."
)
_SMALL = (
    "What was tried: compiled blocks of 0.8 to 8 MB (8 %), channels compiled in (15 %). SiLU is "
    "cheaper than softplus for the plain reference, and the envelope costs us a sum over channels."
)
_PREDICTION = (
    "What was tried: graphs of a thousand structures at a time, searched only as far as the "
    "neighbours that are kept; messages without a state; radial features of low rank. Of 430 µs a "
    "crystal at 12 neighbours, graphs take 80, matrix products 200 and the rest of the messages "
    "150 when compiled. Not tried: the linear map of the radial features within a block, in the "
    "cache."
)

REMARKS = {
    "cgcnn_64x3_forces": _SMALL,
    "cgcnn_64x3_forces_default": _SMALL,
    "cgcnn_100x4_forces_default": _SMALL,
    "et_64x3_forces": _ATTENTION,
    "et_128x4_forces": _ATTENTION,
    "et_64x3_forces_default": _ATTENTION,
    "et_128x4_forces_default": _ATTENTION,
    "predict_property_12": _PREDICTION,
    "predict_property_5": _PREDICTION,
}
