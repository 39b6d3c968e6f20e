"""The pretrained potentials that nucleate knows: their names, packages, elements and sources.

A name is accepted wherever a pretrained potential is: as a reference in tests, as a prior, as a teacher, in benchmarks and in dynamics.
Names are not case-sensitive. Beside those of `PRETRAINED` there are `mace:FILE`, a model file of the user, and, for teachers only,
`ase:MODULE:CLASS`, a calculator of ASE.

The weights of `PRETRAINED` are parts of the installed packages. A MACE file is the only other file that is unpickled, and only if the user
names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nucleate.errors import BadInput, MissingDependency, quoted

MPTRJ = (*range(1, 84), *range(89, 95))
"""Atomic numbers in the data set MPtrj: H to Bi and Ac to Pu."""
MP_R2SCAN = tuple(z for z in MPTRJ if z != 70)
"""Atomic numbers in the r2SCAN calculations of the Materials Project: those of MPtrj without Yb."""

DENG = "B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3"
HUANG = "X. Huang et al., npj Comput. Mater. (2025), doi 10.1038/s41524-025-01796-y"
PARK = "Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi 10.1021/acs.jctc.4c00190"
GALE = "J. D. Gale et al., J. Chem. Theory Comput. 17, 7827 (2021), doi 10.1021/acs.jctc.1c00832"
KABYLDA = "A. Kabylda et al., J. Am. Chem. Soc. 147, 33723 (2025), doi 10.1021/jacs.5c09558"
KIM = "J. Kim et al., J. Am. Chem. Soc. 147, 1042 (2025), doi 10.1021/jacs.4c14455"


@dataclass(frozen=True)
class Pretrained:
    """A pretrained potential whose weights are part of a package.

    Attributes:
        name: name by which run folders, ledgers and model files record the potential; it never changes.
        title: name of the potential in its paper, for headings.
        package: package that contains the weights.
        loader: arguments of the package's loader.
        cutoff: cutoff radius, Å.
        elements: atomic numbers of the training data.
        functional: exchange-correlation functional of the training data.
        paper: source.
        alias: second name, which lists and messages show; None: there is none.
        extra: extra of nucleate that installs the package.
    """

    name: str
    title: str
    package: str
    loader: Mapping[str, Any]
    cutoff: float
    elements: tuple[int, ...]
    functional: str
    paper: str
    alias: str | None = None
    extra: str = field(default="surrogates", kw_only=True)

    @property
    def shown(self) -> str:
        """Name that lists and messages show."""
        return self.alias or self.name


PRETRAINED = {
    potential.name: potential
    for potential in (
        Pretrained("chgnet", "CHGNet", "chgnet", {"model_name": "0.3.0"}, 6.0, MPTRJ, "PBE(+U)", DENG),
        Pretrained("chgnet:r2scan", "CHGNet (r2SCAN)", "chgnet", {"model_name": "r2scan"}, 6.0, MP_R2SCAN, "r2SCAN", HUANG),
        # Earlier versions recorded this potential as sevennet; another name would make their ledgers and model files unknown.
        Pretrained("sevennet", "7net-0", "sevenn", {"model": "7net-0"}, 5.0, MPTRJ, "PBE(+U)", PARK, "7net-0"),
        Pretrained("7net-l3i5", "7net-l3i5", "sevenn", {"model": "7net-l3i5"}, 5.0, MPTRJ, "PBE(+U)", PARK),
        Pretrained("7net-mf-0:PBE", "7net-mf-0 (PBE)", "sevenn", {"model": "7net-mf-0", "modal": "PBE"}, 5.0, MPTRJ, "PBE(+U)", KIM),
        Pretrained("so3lr", "SO3LR", "so3krates_torch", {}, 12.0, (1, 6, 7, 8, 9, 15, 16, 17), "PBE0+MBD", KABYLDA, extra="molecules"),
        Pretrained("gfnff", "mcGFN-FF", "gfnff", {"version": "mcgfnff2023"}, 12.0, tuple(range(1, 87)), "GFN-FF", GALE, extra="molecules"),
        Pretrained(
            "7net-mf-0:R2SCAN", "7net-mf-0 (r2SCAN)", "sevenn", {"model": "7net-mf-0", "modal": "R2SCAN"}, 5.0, MP_R2SCAN, "r2SCAN", KIM
        ),
    )
}
"""Pretrained potentials by the names that files record."""

NAMES = ", ".join(potential.shown for potential in PRETRAINED.values())
"""Names of all pretrained potentials, for help texts and messages."""

_BY_NAME = {name.lower(): p.name for p in PRETRAINED.values() for name in (p.name, p.alias or p.name)}


def canonical_name(name: str) -> str:
    """Return the name by which files record a potential; a name that is not one of `PRETRAINED` is returned with its prefix in lower case.

    `7NET-0` becomes `sevennet`, `7net-mf-0:r2scan` becomes `7net-mf-0:R2SCAN`, and `MACE:file` becomes `mace:file`.
    """
    known = _BY_NAME.get(name.lower())
    if known is not None:
        return known
    prefix, colon, rest = name.partition(":")
    return f"{prefix.lower()}:{rest}" if colon and prefix.lower() in ("mace", "ase") else name


def shown_name(name: str) -> str:
    """Return the name that messages show: that of the lists for the potentials of `PRETRAINED`, else the name itself."""
    known = PRETRAINED.get(canonical_name(name))
    return name if known is None else known.shown


def title_of(name: str) -> str:
    """Return the title of a potential, such as `CHGNet`; names of other references are returned unchanged."""
    known = PRETRAINED.get(canonical_name(name))
    return name if known is None else known.title


def check_name(name: str, role: str = "potential", calculators: bool = False) -> str:
    """Return the canonical name of a pretrained potential.

    Args:
        name: name given by the user.
        role: what the potential is used for, for the message.
        calculators: whether `ase:MODULE:CLASS` is accepted as well.

    Raises:
        BadInput: the name is unknown; the message lists the known ones.
    """
    own = canonical_name(name)
    prefix, _, rest = own.partition(":")
    if own in PRETRAINED or (prefix == "mace" and rest):
        return own
    if prefix == "ase" and calculators and all(rest.partition(":")[::2]):
        return own
    more = "mace:FILE or ase:MODULE:CLASS" if calculators else "or mace:FILE"
    raise BadInput(f"unknown {role} '{quoted(name)}'; choose {NAMES}, {more}")


def check_installed(name: str) -> None:
    """Check that a pretrained potential can be loaded, without loading it.

    Args:
        name: canonical name, as returned by `check_name`.

    Raises:
        MissingDependency: its package is not installed.
        BadInput: its model file does not exist.
    """
    prefix, _, file = name.partition(":")
    known = PRETRAINED.get(name)
    if known is None and prefix != "mace":
        return
    # mace-torch and sevenn need different versions of e3nn, so they are extras of their own.
    package, extra = ("mace", "mace") if known is None else (known.package, known.extra)
    if find_spec(package) is None:
        raise MissingDependency(f"{package} is not installed; run: pip install 'nucleate[{extra}]'")
    if known is None and not Path(file).is_file():
        raise BadInput(f"mace:{quoted(file)}: no such model file; write mace:FILE with a model trained by mace_run_train or downloaded")


def check_elements(name: str, species: Iterable[int], known: Iterable[int] | None = None) -> None:
    """Check that a potential was trained for some elements.

    Args:
        name: name of a potential; names of other references are not checked.
        species: atomic numbers.
        known: atomic numbers that the potential supports; None: those in `PRETRAINED`.

    Raises:
        BadInput: it was not trained for one of them.
    """
    entry = PRETRAINED.get(canonical_name(name))
    if known is None:
        if entry is None:
            return
        known = entry.elements
    missing = sorted({int(z) for z in species} - set(known))
    if missing:
        from ase.data import chemical_symbols

        symbols = ", ".join(chemical_symbols[z] for z in missing)
        raise BadInput(f"{quoted(shown_name(name))} was not trained for {symbols}; choose a potential that knows these elements")


def same_model(one: str, other: str) -> bool:
    """Return whether two names may mean the same model.

    A calculator `ase:MODULE:CLASS` of a package counts as every model of this package, because its arguments determine which one it is.
    """
    one, other = canonical_name(one), canonical_name(other)
    if one == other:
        return True
    for calculator, model in ((one, other), (other, one)):
        if calculator.startswith("ase:") and model in PRETRAINED:
            return calculator[4:].partition(":")[0].partition(".")[0] == PRETRAINED[model].package
    return False
