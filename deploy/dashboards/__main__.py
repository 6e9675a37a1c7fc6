"""Write the dashboards to where the chart takes them from: `make dashboards`."""

from deploy.dashboards.written import FOLDER, written


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = written()
    for old in FOLDER.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


main()
