"""The `circuitbook` command: what authors and readers type in a terminal."""

import argparse
import sys
from pathlib import Path


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what was wrong, instead of repeating the usage."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def book_root(folder: Path) -> Path:
    """The checkout around `folder`: the nearest folder above it, or itself, that has a book."""
    for candidate in (folder, *folder.parents):
        if (candidate / "book").is_dir():
            return candidate
    raise ValueError(f"no book/ in {folder} or above it; run this in a checkout of circuitbook.")


def build(arguments: argparse.Namespace) -> int:
    """Make the notebooks, or only say which are stale."""
    try:
        from circuitbook import authoring
    except ModuleNotFoundError as missing:
        raise ValueError(f"build needs {missing.name}: pip install -e '.[dev]'") from None

    root = book_root(Path.cwd())
    if not arguments.check:
        authoring.build(root, arguments.chapter)
        return 0
    lines = list(authoring.stale(root, arguments.chapter))
    print("\n".join(lines) or "notebooks/ and solutions/ are fresh")
    return 1 if lines else 0


def progress(arguments: argparse.Namespace) -> int:
    """Say what this reader has passed, for eyes or as JSON; move it, or begin anew."""
    from circuitbook import progress as kept

    if arguments.load:
        print(f"{kept.merge(arguments.load)} events were new; {kept.file()} has them now")
        return 0

    from circuitbook import exercises

    shown = exercises.progress(arguments.chapter)
    if arguments.json:
        print(shown.to_json(), end="")
    elif arguments.export:
        shown.export(arguments.export)
        print(f"wrote {arguments.export}")
    elif arguments.reset:
        if not (arguments.yes or confirmed(repr(shown))):
            print("nothing was changed")
            return 1
        print(shown.reset(sure=True))
    else:
        print(shown)
    return 0


def confirmed(shown: str) -> bool:
    """Whether the reader says yes to losing what is shown; a pipe that ends says no."""
    print(shown)
    try:
        return input("Begin anew with this? Type yes: ").strip().lower() in ("yes", "y")
    except EOFError:
        print("no answer; --yes takes it as given")
        return False


def doctor(arguments: argparse.Namespace) -> int:
    """Say what this machine has and can do."""
    from circuitbook.doctor import report

    return 0 if report() else 1


def train(arguments: argparse.Namespace) -> int:
    """Make a model of the book again, as it was made, with its card."""
    from circuitbook.cards import make

    checkpoints = arguments.checkpoints / arguments.name
    print(f"wrote {make(arguments.name, arguments.folder, checkpoints)}")
    return 0


def main(words: list[str] | None = None) -> int:
    """Run one command: 0 if it did what was asked, 1 if it could not."""
    parser = Parser(prog="circuitbook", description=__doc__)
    commands = parser.add_subparsers(metavar="command", required=True)

    command = commands.add_parser("build", help="make notebooks/ and solutions/ from book/")
    command.add_argument("chapter", nargs="*", help="01, 02, ...; all of them when none is named")
    command.add_argument("--check", action="store_true", help="only say which files are stale")
    command.set_defaults(run=build)

    command = commands.add_parser("progress", help="say which exercises you have passed")
    command.add_argument("chapter", nargs="?", type=int, help="of one chapter: 0, 1, ...")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--json", action="store_true", help="the same, and every event, as JSON")
    instead.add_argument("--export", type=Path, metavar="FILE", help="write that JSON to a file")
    instead.add_argument(
        "--import", type=Path, metavar="FILE", dest="load", help="add what was exported elsewhere"
    )
    instead.add_argument("--reset", action="store_true", help="begin anew; asks first")
    command.add_argument("--yes", action="store_true", help="with --reset: do not ask")
    command.set_defaults(run=progress)

    command = commands.add_parser("doctor", help="say what this machine has and can do")
    command.set_defaults(run=doctor)

    command = commands.add_parser("train", help="make a model of the book again, with its card")
    command.add_argument("name", help="pocket, two-layer, one-layer or zero-layer")
    command.add_argument(
        "--folder",
        type=Path,
        default=Path("trained"),
        help="where to write it; default: %(default)s",
    )
    command.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        help="where a run that is stopped leaves what it has; default: %(default)s",
    )
    command.set_defaults(run=train)

    arguments = parser.parse_args(words)
    try:
        return arguments.run(arguments)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"circuitbook: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
