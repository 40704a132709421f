"""Properties of the elements 1 to 100, for initial embeddings."""

import torch
from torch import Tensor

__all__ = ["N_ELEMENTS", "element_properties"]

N_ELEMENTS = 100
NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)

# Covalent radii in pm: Cordero et al., Dalton Trans. 2832 (2008); 200 beyond curium.
COVALENT_RADII = """
    31 28 128 96 84 76 71 66 57 58 166 141 121 111 107 105 102 106 203 176
    170 160 153 139 139 132 126 124 132 122 122 120 119 120 120 116 220 195 190 175
    164 154 147 146 142 139 145 144 142 139 139 138 139 140 244 215 207 204 203 201
    199 198 198 196 194 192 192 189 190 187 187 175 170 162 151 144 141 136 136 132
    145 146 148 140 150 150 260 221 215 206 200 196 190 187 180 169 200 200 200 200"""

# Electronegativities times 100, Pauling's scale; Allen's for helium, neon and argon, which have
# none on it.
ELECTRONEGATIVITIES = """
    220 416 98 157 204 255 304 344 398 479 93 131 161 190 219 258 316 324 82 100
    136 154 163 166 155 183 188 191 190 165 181 201 218 255 296 300 82 95 122 133
    160 216 190 220 228 220 193 169 178 196 205 210 266 260 79 89 110 112 113 114
    113 117 120 120 110 122 123 124 125 110 127 130 150 236 190 220 220 228 254 200
    162 233 202 200 220 220 70 90 110 130 150 138 136 128 130 130 130 130 130 130"""


def element_properties() -> Tensor:
    """Return period, group, block, radius and electronegativity, standardised: ``(100, 8)``."""
    radii = [int(value) for value in COVALENT_RADII.split()]
    negativities = [int(value) for value in ELECTRONEGATIVITIES.split()]
    rows = [
        [*_periodic_position(z), radius, negativity]
        for z, radius, negativity in zip(range(1, N_ELEMENTS + 1), radii, negativities, strict=True)
    ]
    table = torch.tensor(rows, dtype=torch.float64)
    return (table - table.mean(dim=0)) / table.std(dim=0)


def _periodic_position(z: int) -> list[int]:
    """Return period, group and one-hot block (s, p, d, f) of an element."""
    period = sum(noble < z for noble in NOBLE_GASES)
    column = z - NOBLE_GASES[period - 1]
    length = NOBLE_GASES[period] - NOBLE_GASES[period - 1]
    # Lanthanides and actinides belong to group 3.
    inner = length == 32 and 3 <= column <= 17
    group = 3 if inner else column if column <= 2 else 18 - (length - column)
    if z == 2:
        group = 18
    block = "f" if inner and column <= 16 else "s" if column <= 2 else "p" if group > 12 else "d"
    return [period, group, *(int(block == name) for name in "spdf")]
