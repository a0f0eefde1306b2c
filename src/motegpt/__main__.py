"""The entry point of the command line; python -m motegpt.

It imports almost nothing before it is ready for an interrupt.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from motegpt.system.interrupts import handle_termination, interrupt, leave

        handle_termination(interrupt)
        from motegpt.system.startup import leave_garbage, save_processor_time

        save_processor_time()
        from motegpt.cli.streams import replace_closed_streams

        replace_closed_streams()
        from motegpt.cli import main as run

        try:
            run()
        finally:
            handle_termination(leave)  # only the exit remains
            leave_garbage()
    except KeyboardInterrupt:
        from motegpt.errors import INTERRUPTED

        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
