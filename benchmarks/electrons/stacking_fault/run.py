"""A stacking fault in beryllium, hcp to fcc: its energy from a model and from GPAW, and the density around it.

    OMP_NUM_THREADS=1 python benchmarks/electrons/stacking_fault/run.py --model MODEL --volume VOLUME --out runs/electrons/fault

MODEL is trained on folders of beryllium of benchmarks/data/electrons.py, VOLUME (Å³ an atom) that of the training data. Twelve close-
packed layers, one atom each: hcp (ABABABABABAB), two growth faults (ABABABCBCBCB) and fcc (ABCABCABCABC). The model has seen eight and
sixteen atoms of hcp at 300 K and none of the faults. Then the same fault in a cell of many more layers and atoms, where only the model
goes, and a picture of the density on a plane through the layers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nucleate.electrons.data.ground_state import ground_state
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.settings import GroundStateSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data"))
from electrons import stacked

LAYERS = {"hcp": "AB" * 6, "two growth faults": "ABABABCBCBCB", "fcc": "ABC" * 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--volume", type=float, required=True, help="Å³ an atom, that of the training data")
    parser.add_argument("--temperature", type=float, default=1000.0)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/fault"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    model = ElectronModel.load(a.model)
    settings = GroundStateSettings(
        cutoff=model.engine["cutoff"], k_spacing=0.25, electronic_temperature=a.temperature, sigma=model.sigma,
        low=-9.0, high=8.0,
    )  # fmt: skip
    kept = a.out / "gpaw.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    first: dict[str, float] = {}
    print("| stacking | GPAW, meV/atom above hcp | model | committee's spread of the band energy, meV/atom |\n|---|---|---|---|")
    for name, sequence in LAYERS.items():
        atoms = stacked(sequence, a.volume)
        if name not in known:
            known[name] = ground_state(atoms, settings).terms["free"] / len(atoms)
            kept.write_text(json.dumps(known))
        found = predict(model, atoms, a.temperature, overlap=True)
        own = float(found.terms.free) / len(atoms)
        first = first or {"gpaw": known[name], "model": own}
        gpaw, ours = 1e3 * (known[name] - first["gpaw"]), 1e3 * (own - first["model"])
        print(f"| {name} | {gpaw:+.1f} | {ours:+.1f} | {1e3 * found.sigma_band:.1f} |", flush=True)

    wide = stacked("AB" * 12 + "CB" * 12, a.volume) * (3, 3, 1)
    perfect = stacked("AB" * 24, a.volume) * (3, 3, 1)
    started = time.process_time()
    energies = [float(predict(model, atoms, a.temperature, overlap=True).terms.free) for atoms in (wide, perfect)]
    area = float(np.linalg.norm(np.cross(*wide.cell.array[:2])))
    fault = (energies[0] - energies[1]) / 2 / area * 16021.77
    print(f"\n{len(wide)} atoms: {fault:.0f} mJ/m² a fault, {time.process_time() - started:.0f} CPU-s for both cells")
    narrow = stacked(LAYERS["two growth faults"], a.volume)
    n = predict(model, narrow, a.temperature).density.numpy()
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    # The plane along the long diagonal of the cell holds atoms of all three kinds of layers.
    index = np.arange(min(n.shape[:2]))
    shown = axes.imshow(n[index, (-index) % n.shape[1]], aspect="auto", origin="lower", cmap="magma")
    axes.set(xlabel="along the stacking", ylabel="along the diagonal", title="density around the faults")
    figure.colorbar(shown, label="electrons/Å³")
    figure.savefig(a.out / "density.png", dpi=150)


if __name__ == "__main__":
    main()
