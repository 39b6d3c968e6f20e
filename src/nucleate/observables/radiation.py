"""Radiation of a diffraction experiment: wavelengths by name, and how strongly the elements scatter it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from nucleate.errors import BadInput, quoted

SHORTEST, LONGEST = 0.05, 10.0
"""Range of wavelengths, Å."""
LARGEST_S = 2.0
"""Largest s = sin(theta)/wavelength of the X-ray form factors, 1/Å."""
DEUTERIUM = 6.6683
"""Bound coherent scattering length of deuterium, fm: K. Schoen et al., Phys. Rev. C 67, 044005 (2003), arXiv:nucl-ex/0306012."""


@dataclass(frozen=True)
class Radiation:
    """X-rays or neutrons of one wavelength.

    Attributes:
        wavelength: wavelength, Å.
        neutron: whether the radiation are neutrons.
        deuterated: whether hydrogen atoms are deuterium; X-rays see no difference.
    """

    wavelength: float
    neutron: bool = False
    deuterated: bool = False

    def amplitudes(self, number: int, s2: np.ndarray) -> np.ndarray:
        """Return the scattering amplitude of an element, at rest, for each squared s = sin(theta)/wavelength.

        X-rays: form factor in electrons, Z - 41.78214 s² sum_i a_i exp(-b_i s²), with the parameters of pymatgen, without anomalous
        dispersion: M. De Graef and M. E. McHenry, Structure of Materials, 2nd ed., Cambridge University Press (2012), eq. 12.5 and its
        tables, as pymatgen cites them. The expression is a fit for s up to 2/Å and rises to Z beyond: amplitudes at larger s are
        those at 2/Å, and measured data beyond are refused. Neutrons: bound coherent scattering length in fm.

        Args:
            number: atomic number.
            s2: (n,) squared s, 1/Å².

        Raises:
            BadInput: there is no scattering length or form factor of the element.
        """
        symbol = chemical_symbols[number]
        table = _scattering(self.neutron)
        if symbol not in table:
            name = "neutron scattering length" if self.neutron else "X-ray form factor"
            raise BadInput(f"{symbol}: no {name} is known; the pattern of a structure with this element cannot be computed")
        if self.neutron:
            return np.full(len(s2), DEUTERIUM if self.deuterated and symbol == "H" else float(table[symbol]))
        s2 = np.minimum(s2, LARGEST_S**2)
        a, b = np.array(table[symbol], dtype=float).T
        form: np.ndarray = number - 41.78214 * s2 * (a * np.exp(-b * s2[:, None])).sum(1)
        return form

    def lorentz_polarisation(self, sine: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        """Return the Lorentz factor of a powder for sine and cosine of theta, for X-rays with the polarisation of an unpolarised beam.

        (1 + cos² 2θ) / (sin² θ cos θ) for X-rays and 1 / (sin² θ cos θ) for neutrons: V. K. Pecharsky and P. Y. Zavalij, Fundamentals of
        Powder Diffraction and Structural Characterization of Materials, Springer (2009), doi 10.1007/978-0-387-09579-0.
        """
        square = sine**2
        lorentz: np.ndarray = 1.0 / (square * cosine)
        return lorentz if self.neutron else lorentz * (1 + (1 - 2 * square) ** 2)


def _scattering(neutron: bool) -> dict[str, Any]:
    """Return pymatgen's table of scattering lengths or of form factors.

    pymatgen's modules of diffraction import matplotlib.pyplot, for which every start of nucleate would wait.
    """
    if neutron:
        from pymatgen.analysis.diffraction.neutron import ATOMIC_SCATTERING_LEN

        lengths: dict[str, Any] = ATOMIC_SCATTERING_LEN
        return lengths
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    factors: dict[str, Any] = ATOMIC_SCATTERING_PARAMS
    return factors


def radiation(text: str, neutron: bool = False, deuterated: bool = False) -> Radiation:
    """Return the radiation of a wavelength in Å or of a named X-ray line such as CuKa, CuKa1 or MoKa.

    Raises:
        BadInput: the text is neither a wavelength within `SHORTEST` to `LONGEST` nor a known line, or a line is given for neutrons.
    """
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

    named = {name.lower(): value for name, value in WAVELENGTHS.items()}
    if text.lower() in named:
        if neutron:
            raise BadInput(f"--wavelength {quoted(text, 40)}: is an X-ray line; give the wavelength of the neutrons in Å")
        return Radiation(named[text.lower()])
    try:
        value = float(text)
    except ValueError:
        lines = ", ".join(sorted(WAVELENGTHS))
        raise BadInput(f"--wavelength {quoted(text, 40)}: give a length in Å or one of {lines}") from None
    if not (math.isfinite(value) and SHORTEST <= value <= LONGEST):
        raise BadInput(f"--wavelength {quoted(text, 40)}: give a length in Å between {SHORTEST:g} and {LONGEST:g}")
    return Radiation(value, neutron, deuterated)
