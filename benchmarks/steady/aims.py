"""What is promised of a server over time and size, with its aims; they are those of the issue "Speed"."""

from benchmarks.findings import aim

AIMS = (
    aim("start to the first answer, one ONNX model: s", "start s", ".2f", at_most=2.0),
    aim("idle, 100 models loaded: share of a core", "idle share", ".2%", at_most=0.005),
    *(
        aim(f"tiny, {door}: CPU of a request, {more} over {less}", f"{part} {door}", ".2f", at_most=1.15)
        for part, more, less in (
            ("clients", "512 clients", "64"),
            ("models", "200 models", "1"),
            ("minutes", "minute 10", "minute 1"),
        )
        for door in ("binary", "grpc")
    ),
)
