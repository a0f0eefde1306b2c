"""The entry point of the command line; python -m motegpt."""


def main() -> None:
    """Run the command line and exit with its code."""
    from motegpt.views.streams import complete

    complete()
    from motegpt.views.cli import main as run

    run()


if __name__ == "__main__":
    main()
