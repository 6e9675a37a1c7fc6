"""Trains the sample models on scikit-learn's bundled data and writes their files.

    python model_repository/train.py [--into DIR] [--only NAME ...]

The same versions of the libraries write the same bytes, on any processor: seeds are fixed, one thread
computes, and what a processor may round its own way is learned in double precision and kept to fewer
places. With --into, what is written by hand (config.pbtxt, labels.txt, pre.py, post.py) is copied there too.
"""

import argparse
import runpy
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from exports import (
    Shapes,
    Tensors,
    onnx_model,
    onnx_network,
    run_onnx,
    run_torchscript,
    write_example,
    write_onnx,
    write_torchscript,
)
from heldout import Digit, held_out, trained_on
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
TRAINED = ("model.onnx", "model.pt", "examples", "*.png")
TO_TRY = 8  # the digit whose image lies beside the model, for people to send


def iris(folder: Path) -> str:
    """A forest of 20 trees, exported as any scikit-learn model would be."""
    flowers = load_iris()
    seen, unseen, kinds, truth = train_test_split(
        flowers.data, flowers.target, test_size=30, random_state=0, stratify=flowers.target
    )
    forest = RandomForestClassifier(n_estimators=20, max_depth=4, random_state=0).fit(seen, kinds)
    model = to_onnx(
        forest,
        name="iris",
        initial_types=[("measurements", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 1},
    )
    write_onnx(model, folder / "1")

    def answer(measurements: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run_onnx(folder / "1", {"measurements": measurements.astype(np.float32)})
        # In the file a label is one number a row, shape (rows,): a server of Triton's kind makes it a column.
        return {"label": outputs["label"].reshape(-1, 1), "probabilities": outputs["probabilities"]}

    one_of_each = flowers.data[[0, 50, 100]].astype(np.float32)
    write_example(folder / "1", "one_of_each", {"measurements": one_of_each}, answer(one_of_each))
    right = np.mean(answer(unseen)["label"].ravel() == truth)
    return f"{right:.1%} of {len(truth)} held-out flowers"


def diabetes(folder: Path) -> str:
    """A linear regression whose ten inputs have names, and the units that a doctor writes down."""
    patients = load_diabetes(scaled=False)
    seen, unseen, progress, truth = train_test_split(
        patients.data, patients.target, test_size=88, random_state=0
    )
    fitted = LinearRegression().fit(seen, progress)
    names = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu"]
    nodes = [
        helper.make_node("Concat", names, ["patient"], axis=1),
        helper.make_node("Gemm", ["patient", "coefficients", "intercept"], ["progression"]),
    ]
    weights = {
        "coefficients": np.round(fitted.coef_, 6).reshape(10, 1),
        "intercept": np.round(fitted.intercept_, 6).reshape(1),
    }
    inputs: Shapes = {name: ["rows", 1] for name in names}
    write_onnx(onnx_model("diabetes", nodes, inputs, {"progression": ["rows", 1]}, weights), folder / "1")

    def columns(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: rows[:, [column]].astype(np.float32) for column, name in enumerate(names)}

    two = columns(patients.data[:2])
    write_example(folder / "1", "two_patients", two, run_onnx(folder / "1", two), decimals=2)
    error = np.abs(run_onnx(folder / "1", columns(unseen))["progression"].ravel() - truth).mean()
    return f"mean error {error:.1f} on {len(truth)} held-out patients, who differ by {truth.std():.1f}"


def digits(folder: Path) -> str:
    """Two networks as TorchScript; the second is larger and better."""
    right = []
    for version in (1, 2):
        write_torchscript(digit_network(version), torch.zeros(2, 1, 8, 8), folder / str(version))
        right.append(f"version {version}: {examine_digits(folder / str(version), run_torchscript):.1%}")
    to_try = next(digit for digit in held_out(side=64) if digit.label == TO_TRY)
    (folder / f"{TO_TRY}.png").write_bytes(to_try.png)
    return f"{', '.join(right)} of {len(held_out())} held-out images"


def digits_onnx(folder: Path) -> str:
    """The network of digits, version 2, as ONNX."""
    network = onnx_network(
        "digits", digit_network(2), {"INPUT__0": ["rows", 1, 8, 8]}, {"OUTPUT__0": ["rows", 10]}
    )
    write_onnx(network, folder / "1")
    return f"{examine_digits(folder / '1', run_onnx):.1%} of {len(held_out())} held-out images"


@cache
def digit_network(version: int) -> nn.Sequential:
    """A network that has learned the digits as pre.py hands them over: (rows, 1, 8, 8) to 10 logits a row."""
    torch.manual_seed(version)
    channels, hidden = {1: (8, 32), 2: (16, 64)}[version]
    epochs = 40
    seeing = nn.Sequential(
        nn.Conv2d(1, channels, kernel_size=3, padding=1, dtype=torch.float64),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1, dtype=torch.float64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    telling = nn.Sequential(
        nn.Linear(2 * channels * 4 * 4, hidden, dtype=torch.float64),
        nn.ReLU(),
        nn.Linear(hidden, 10, dtype=torch.float64),
    )
    network = nn.Sequential(*seeing, *telling)
    seen = trained_on()
    preprocess = runpy.run_path(str(HERE / "digits" / str(version) / "pre.py"))["preprocess"]
    images = torch.from_numpy(preprocess(as_request(seen))["INPUT__0"]).double()
    labels = torch.tensor([digit.label for digit in seen])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            logits = telling(half(seeing(images[batch])))
            nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
        schedule.step()
    for weights in network.parameters():
        weights.requires_grad_(False).mul_(4096).round_().div_(4096)
    return network.float().eval()


def half(values: torch.Tensor) -> torch.Tensor:
    """Drop every second value by chance, and double the rest.

    In place of nn.Dropout, whose draws differ between machines with MKL and machines without.
    """
    return 2 * values * (torch.rand_like(values) >= 0.5)


def examine_digits(folder: Path, run: Callable[[Path, Tensors], dict[str, np.ndarray]]) -> float:
    """Write the version's golden examples; return the share of held-out images that it reads rightly."""
    preprocess = runpy.run_path(str(folder / "pre.py"))["preprocess"]
    postprocess = runpy.run_path(str(folder / "post.py"))["postprocess"]

    def answer(request: Tensors) -> dict[str, np.ndarray]:
        answered: dict[str, np.ndarray] = postprocess(run(folder, preprocess(request)))
        return answered

    unseen = held_out()
    right = answer(as_request(unseen))["digit"].ravel() == [digit.label for digit in unseen]
    read_rightly = {digit.label: digit for digit, is_right in zip(unseen, right, strict=True) if is_right}
    one_of_each = [read_rightly[label] for label in range(10)]
    for name, chosen in {"seven": [one_of_each[7]], "zero_to_nine": one_of_each}.items():
        write_example(folder, name, as_request(chosen), answer(as_request(chosen)))
    return float(right.mean())


def as_request(files: list[Digit]) -> dict[str, np.ndarray]:
    return {"IMAGE": np.array([[digit.png] for digit in files], object)}


MODELS: Mapping[str, Callable[[Path], str]] = {
    "iris": iris,
    "diabetes": diabetes,
    "digits": digits,
    "digits_onnx": digits_onnx,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train the sample models and write their files.")
    arguments.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="(this repository)")
    arguments.add_argument("--only", nargs="+", default=MODELS, choices=MODELS, metavar="NAME", help="(all)")
    wanted = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # TorchScript is what digits shows
    for name in wanted.only:
        print(f"{name:12} training ...", flush=True)
        began = time.perf_counter()
        folder = wanted.into.resolve() / name
        if folder != HERE / name:
            by_hand = shutil.ignore_patterns(*TRAINED, "__pycache__")
            shutil.copytree(HERE / name, folder, ignore=by_hand, dirs_exist_ok=True)
        result = MODELS[name](folder)
        print(f"{name:12} {result}, in {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
