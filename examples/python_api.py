"""Search four aluminium atoms on a classical potential, in seconds: the whole loop without DFT.

The effective-medium potential is a stand-in that needs no installation; a real search names a DFT engine.
"""

import sys

import nucleate

SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 60, "first_batch": 10, "batch": 4, "max_rounds": 4, "budget": 80, "top": 2},
    "model": {"members": 3, "channels": 8, "hidden": 16},
    "training": {"steps": 200, "warm_steps": 80},
    "generate": {"workers": 1, "prototype_share": 0.0},
}


def main(out: str) -> nucleate.SearchResult:
    result = nucleate.search("Al4", settings=SETTINGS, out=out)
    for rank, polymorph in enumerate(result.polymorphs, 1):
        print(rank, polymorph.space_group, f"{polymorph.energy:.4f} eV/atom", f"after {polymorph.calls} calls")
    return result


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/al4")
