"""Exchange-correlation functionals as GPAW's keyword `xc`."""

from __future__ import annotations

from typing import Any

from nucleate.errors import BadInput, quoted

LIBXC = {"R2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN", "SCAN": "MGGA_X_SCAN+MGGA_C_SCAN"}
"""Names of functionals, in capitals, that GPAW knows only by their names in libxc. GPAW combines meta-GGAs with PAW data sets of PBE."""
ON_PBE = ("PBESOL",)
"""Names, in capitals, of gradient-corrected functionals without PAW data sets of their own, which are used with those of PBE."""


def on_pbe(xc: str) -> bool:
    """Return whether a gradient-corrected functional is used with the PAW data sets of PBE."""
    return xc.upper() in ON_PBE


def refuse_nonlocal(xc: str) -> None:
    """Raise `BadInput` for van der Waals functionals with nonlocal correlation, for which GPAW has no stress."""
    if "vdw" in xc.lower():
        raise BadInput(
            f"reference.xc: GPAW has no stress for the nonlocal functional '{quoted(xc, 40)}', and labels contain one; use a semilocal "
            'functional such as revPBE, with dispersion = "d3bj"'
        )


def functional(xc: str) -> Any:
    """Return GPAW's keyword `xc` of a functional: its name, or an object where the name is not sufficient."""
    if not on_pbe(xc):
        return LIBXC.get(xc.upper(), xc)
    from gpaw.dft import XC

    class OnPBE(XC):
        """A functional with the PAW data sets of PBE; the core is that of PBE, the rest is calculated with the functional."""

        def functional(self, *args: Any, **kwargs: Any) -> Any:
            made = super().functional(*args, **kwargs)
            made.get_setup_name = lambda: "PBE"
            return made

    made: Any = OnPBE
    return made(name=xc)
