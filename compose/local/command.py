"""`twofold dev`: Kafka, Postgres and, where there is one, Jaeger, until Ctrl-C.

What it prints on standard output can be pasted into another shell; what it
says about itself goes to standard error.
"""

import contextlib
import threading
from pathlib import Path
from typing import Annotated

import typer

from compose.local.errors import StackError
from compose.local.jaeger import Jaeger, find_jaeger
from compose.local.stack import LocalStack

DATABASES = (
    "twofold",
    "shop_stock",
    "shop_payments",
    "shop_shipping",
    "bank_a",
    "bank_b",
    "counter_a",
    "counter_b",
    "counter_c",
)

app = typer.Typer(help="Run Kafka and Postgres on this machine, for development.")


@app.callback(invoke_without_command=True)
def dev(
    directory: Annotated[
        Path, typer.Option(help="Where data and logs are kept from one run to the next.")
    ] = Path(".twofold/dev"),
) -> None:
    """Run Kafka and Postgres until Ctrl-C, and print how to reach them."""
    try:
        with contextlib.ExitStack() as running:
            stack = LocalStack.start(directory, databases=DATABASES, progress=say)
            running.enter_context(stack)
            jaeger = find_jaeger(directory.resolve() / "jaeger", progress=say)
            if jaeger is not None:
                running.enter_context(jaeger)
            for line in exports(stack, jaeger):
                typer.echo(line)
            wait_for_interrupt(f"logs and data are in {directory}; Ctrl-C stops everything")
            say("stopping")
    except StackError as error:
        typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
        raise typer.Exit(3) from error


def exports(stack: LocalStack, jaeger: Jaeger | None) -> list[str]:
    """Shell lines that point the tests and the services at this stack."""
    dsn = stack.postgres.dsn("twofold")
    variables = {
        "KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
        "PG_DSN": dsn,
        "TWOFOLD_KAFKA__BOOTSTRAP": stack.kafka.bootstrap,
        "TWOFOLD_LOG__DSN": dsn,
        "TWOFOLD_PG_DSN": dsn,
    }
    if jaeger is not None:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = jaeger.otlp_endpoint
    return [f"export {name}='{value}'" for name, value in variables.items()]


def wait_for_interrupt(invitation: str) -> None:
    """Say what to do, and wait until it is done."""
    with contextlib.suppress(KeyboardInterrupt):
        say(invitation)
        threading.Event().wait()


def say(text: str) -> None:
    typer.echo(text, err=True)
