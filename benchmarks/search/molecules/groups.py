"""What the weights of space groups are worth: relaxations until a known form of glycine, with nature's shares and with uniform ones.

    python benchmarks/search/molecules/groups.py --out runs/molecular_draws

The hits are those of draws.py, whose crystals all have the space group of the form. A search without that knowledge needs 1 / (share of the
group) times as many, where the share is that among the groups which can hold the molecules; forms and mirror images of their groups count
together. Intervals are those of Poisson's distribution for the number of hits (95 %); without a hit, the lower bound is given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from draws import alone, is_hit, known
from scipy.stats import chi2
from targets import TARGETS

from nucleate.generate.molecular import MolecularGenerator
from nucleate.generate.settings import GenerateSettings

MIRRORED = {76: 78, 91: 95, 92: 96, 144: 145, 151: 153, 152: 154, 169: 170, 171: 172, 178: 179, 180: 181, 212: 213}
"""Pairs of space groups that are mirror images of one another."""


def share(smiles: str, units: int, group: int, weights: str) -> float:
    """Return the share of a space group, and of its mirror image, among the candidates of a search."""
    builder = MolecularGenerator([alone(smiles)], [units], GenerateSettings(space_group_weights=weights)).builder
    same = {group, MIRRORED.get(group, group)} | {one for one, other in MIRRORED.items() if other == group}
    return sum(float(weight) for one, weight in zip(builder.groups, builder.weights, strict=True) if one.number in same)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=[target.name for target in TARGETS if target.name.endswith("glycine")])
    parser.add_argument("--out", type=Path, default=Path("runs/molecular_draws"))
    options = parser.parse_args()
    print("| form | hits, draws in its group | share, nature | uniform | relaxations to a hit, nature | uniform |\n|" + "---|" * 6)
    for target in (one for one in TARGETS if one.name in options.targets):
        form = known(target)
        rows = [json.loads(line) for line in (options.out / f"{target.name.replace(' ', '_')}.jsonl").read_text().splitlines()]
        hits = sum(is_hit(row, form) for row in rows)
        # Exact limits of the expected number of hits.
        most = float(chi2.ppf(0.975 if hits else 0.95, 2 * hits + 2)) / 2
        least = float(chi2.ppf(0.025, 2 * hits)) / 2 if hits else 0.0
        cells = []
        for weights in ("nature", "uniform"):
            part = share(target.smiles, target.units, target.group, weights)
            need = len(rows) / part
            cells.append(
                (f"{100 * part:.2f} %", f"{need / hits:.0f} ({need / most:.0f}-{need / least:.0f})" if hits else f"> {need / most:.0f}")
            )
        print(f"| {target.name} | {hits}, {len(rows)} | {cells[0][0]} | {cells[1][0]} | {cells[0][1]} | {cells[1][1]} |", flush=True)


if __name__ == "__main__":
    main()
