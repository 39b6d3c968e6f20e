"""Whether eight learned numbers tell rattled crystals apart better than principal components.

    OMP_NUM_THREADS=1 python benchmarks/latent/run.py

Input: the nearest distances (`nucleate.fingerprints.nearest_distances`) of a structure scaled to 15 Å³/atom with all atoms of one element,
120 numbers. The encoders are fitted to random crystals of ten compositions from the package's own generator, with six copies of each
rattled by 0.1 Å per component and strained by 1 %; no prototype and no formula of the test is among them. Encoders: the first principal
components; the principal components after the noise has been scaled to unit variance (Fisher); a denoising autoencoder that reconstructs
the fingerprint of the undisturbed crystal from that of a rattled copy; the same with a second term that attracts two copies of one crystal
and repels others. The test is that of benchmarks/fingerprints: rattled copies of the AFLOW prototypes of SiO2 and C.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import nn

from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.nearest_distances import NearestDistances
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricGenerator

COMPOSITIONS: list[dict[str, int]] = [
    {"Ge": 4}, {"Ge": 6}, {"Ge": 8}, {"Ge": 12}, {"Ti": 2, "S": 4}, {"Ti": 3, "S": 6}, {"Ti": 4, "S": 8}, {"Mg": 2, "Si": 2, "O": 4},
    {"Na": 4, "Cl": 4}, {"Al": 4, "O": 6},
]  # fmt: skip
COPIES = 6
RATTLE = 0.1
VOLUME = 15.0
Encoder = Callable[[np.ndarray], np.ndarray]


def fingerprints_benchmark() -> ModuleType:
    """Return the script of benchmarks/fingerprints, whose test is used."""
    path = Path(__file__).resolve().parents[1] / "fingerprints" / "run.py"
    spec = importlib.util.spec_from_file_location("benchmark_fingerprints", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def described(structures: list[Atoms]) -> np.ndarray:
    """Return (n, 120) fingerprints of the structures at the same volume per atom, without their elements."""
    plain = []
    for atoms in structures:
        copy = Atoms(numbers=[1] * len(atoms), cell=atoms.cell.array, positions=atoms.positions, pbc=True)
        copy.set_cell(copy.cell.array * (VOLUME * len(copy) / copy.get_volume()) ** (1 / 3), scale_atoms=True)
        plain.append(copy)
    result: np.ndarray = NearestDistances([1]).describe(CrystalBatch.from_atoms(plain)).numpy()
    return result


def principal(noisy: np.ndarray, width: int) -> Encoder:
    """Return the projection on the first principal components."""
    mean = noisy.mean(0)
    axes = np.linalg.svd(noisy - mean, full_matrices=False)[2][:width]
    return lambda x: (x - mean) @ axes.T


def whitening(noisy: np.ndarray, clean: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return the (d, d) matrix that scales the noise, regularised by a hundredth of its mean variance, to unit variance."""
    noise = noisy - clean[owner]
    covariance = noise.T @ noise / len(noise)
    values, vectors = np.linalg.eigh(covariance + 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
    return np.asarray(vectors @ np.diag(values**-0.5) @ vectors.T)


def fisher(noisy: np.ndarray, clean: np.ndarray, owner: np.ndarray, width: int) -> Encoder:
    """Return the projection on the principal components of the clean fingerprints in units of the noise."""
    white = whitening(noisy, clean, owner)
    inner = principal(clean @ white, width)
    return lambda x: inner(x @ white)


def autoencoder(noisy: np.ndarray, clean: np.ndarray, owner: np.ndarray, width: int, seed: int, steps: int, contrast: float) -> Encoder:
    """Return the encoder of a denoising autoencoder; `contrast` is the weight of the contrastive term."""
    torch.manual_seed(seed)
    white, mean = whitening(noisy, clean, owner), noisy.mean(0)
    x, y = (torch.tensor((part - mean) @ white, dtype=torch.float32) for part in (noisy, clean[owner]))
    scale = x.std()
    x, y = x / scale, y / scale
    hidden, d = 128, x.shape[1]
    encode = nn.Sequential(nn.Linear(d, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, width))
    decode = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, d))
    optimiser = torch.optim.AdamW([*encode.parameters(), *decode.parameters()], lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (256,))
        latent = encode(x[chosen])
        loss = ((decode(latent) - y[chosen]) ** 2).mean()
        if contrast:
            other = encode(x[(chosen // COPIES) * COPIES + torch.randint(COPIES, (256,))])
            loss = loss + contrast * nn.functional.cross_entropy(-(torch.cdist(latent, other) ** 2), torch.arange(256))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    def encoder(vectors: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(encode(torch.tensor((vectors - mean) @ white, dtype=torch.float32) / scale).numpy())

    return encoder


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    sets = list(dict.fromkeys(row["set"] for row in data["rows"]))
    columns = [f"{name}: nearest neighbour | {name}: adjusted Rand index | {name}: HDBSCAN" for name in sets]
    lines = [f"| encoder | numbers | {' | '.join(columns)} |", "|" + "---|" * (2 + 3 * len(sets))]
    for encoder in dict.fromkeys(row["encoder"] for row in data["rows"]):
        cells = []
        for name in sets:
            mine = [row for row in data["rows"] if row["encoder"] == encoder and row["set"] == name]
            for key in ("nearest", "ari", "hdbscan_ari"):
                values = [row[key] for row in mine]
                cells.append(f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
        numbers = next(row["numbers"] for row in data["rows"] if row["encoder"] == encoder)
        lines.append(f"| {encoder} | {numbers} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--crystals", type=int, default=250, help="Random crystals of each composition.")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    test = fingerprints_benchmark()
    result = ResultFile(a.result, {"crystals": a.crystals, "width": a.width, "steps": a.steps}, ("pymatgen", "scikit-learn"))
    for seed in range(a.seeds):
        if result.find(seed=seed) is not None:
            continue
        rng = np.random.default_rng([seed, 1])
        crystals = [
            candidate.atoms
            for counts in COMPOSITIONS
            for candidate in SymmetricGenerator(counts, GenerateSettings(workers=1)).propose(a.crystals, rng)
        ]
        owner = np.repeat(np.arange(len(crystals)), COPIES)
        clean = described(crystals)
        noisy = described([test.rattled(crystals[k], RATTLE, rng) for k in owner])
        encoders: dict[str, tuple[int, Encoder]] = {
            "none": (clean.shape[1], lambda x: x),
            "principal components": (a.width, principal(noisy, a.width)),
            "Fisher": (a.width, fisher(noisy, clean, owner, a.width)),
            "denoising autoencoder": (a.width, autoencoder(noisy, clean, owner, a.width, seed, a.steps, 0.0)),
            "denoising and contrastive": (a.width, autoencoder(noisy, clean, owner, a.width, seed, a.steps, 0.1)),
        }
        for name in test.PROTOTYPES:
            prototypes = test.prototypes(name)
            truth = np.repeat(np.arange(len(prototypes)), test.COPIES)
            # The same copies as in benchmarks/fingerprints.
            draw = np.random.default_rng([seed, round(1000 * RATTLE)])
            vectors = described([test.rattled(prototypes[k], RATTLE, draw) for k in truth])
            for encoder, (numbers, encode) in encoders.items():
                z = encode(vectors)
                found = test.measures(np.linalg.norm(z[:, None] - z[None], axis=2), truth)
                result.add(set=name, seed=seed, encoder=encoder, numbers=numbers, **found)
        print(table({"rows": result.rows}), flush=True)


if __name__ == "__main__":
    main()
