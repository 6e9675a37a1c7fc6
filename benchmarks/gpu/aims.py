"""What is promised of a CUDA device, with its aims; they are those of the issue "Speed"."""

from benchmarks.findings import aim

MEASURED = (
    ("resnet50", "float32"),
    ("resnet50", "float16"),
    ("bert_base", "float32"),
    ("bert_base", "float16"),
    ("tiny", "float32"),
)

AIMS = (
    *(
        aim(
            f"{name} {dtype}: served over the bare session's rate",
            f"{name} {dtype} share",
            ".1%",
            at_least=0.95,
        )
        for name, dtype in MEASURED
    ),
    *(
        aim(f"{name} {dtype}: served over torch's rate", f"{name} {dtype} torch", ".1%", at_least=0.95)
        for name, dtype in MEASURED
    ),
)
