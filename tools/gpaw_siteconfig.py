# Build settings GPAW reads from the file that GPAW_CONFIG names: FFTW for the
# plane waves, ScaLAPACK and MPI for parallel runs. GPAW's own defaults build without them.
import os
from pathlib import Path

multiarch = os.popen("gcc -print-multiarch").read().strip()
library_dirs += [f"/usr/lib/{multiarch}", f"/usr/lib/{multiarch}/openmpi/lib"]  # noqa: F821
include_dirs += [  # noqa: F821
    str(path)
    for path in (
        Path(f"/usr/lib/{multiarch}/openmpi/include"),
        Path(f"/usr/lib/{multiarch}/openmpi/include/openmpi"),
    )
    if path.is_dir()
]
libraries = ["xc", "openblas", "fftw3", "scalapack-openmpi", "mpi"]
fftw = True
scalapack = True
mpi = True
# GPAW compiles C and C++ sources with one driver when MPI is on.
compiler = "mpic++"
